"""What the log folds to, against the heads and rows that the ledger keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from ledger_service.audit.fold import Fold
from ledger_service.domain.account.state import NO_OVERFLOW, AccountState, Lot, burn_key
from ledger_service.domain.ids import is_policy, owner_of, split_owner
from ledger_service.store.heads import (
    decode_account,
    decode_generation,
    decode_hold,
    decode_lot,
    decode_policy,
    is_old,
)

Differences = Iterator[str]


class LotRow(msgspec.Struct, frozen=True):
    """A row of `lots`."""

    owner: str
    grant_id: str
    place: str
    lot: Lot
    origin: tuple[str | None, str | None]


def differences(stored: Callable[[str], Iterable[Any]], fold: Fold) -> Differences:
    """Everything that is not as the log says, one line each. `stored` are the rows of a statement
    of `queries/replay.sql`."""
    rows = [
        LotRow(owner, grant_id, place, decode_lot(state), (origin_owner, origin))
        for owner, grant_id, place, state, origin_owner, origin in stored("lots")
    ]
    yield from _heads(stored("heads"), fold, rows)
    yield from _lots(fold, rows)
    yield from _holds(stored("holds"), fold)
    yield from _refunds(stored("refunds"), fold)


def moved(fold: Fold) -> tuple[int, int]:
    """Credits that came to these accounts from others, and that went from them to others."""
    totals = [state.totals for state in fold.accounts.values()]
    came = sum([total.transferred_in for total in totals])
    return came, sum([total.transferred_out for total in totals])


def _heads(stored: Iterable[Any], fold: Fold, rows: list[LotRow]) -> Differences:
    lots: dict[str, list[LotRow]] = {}
    for row in rows:
        lots.setdefault(row.owner, []).append(row)
    seen = set()
    for owner, stream, *balances, snapshot, snapshot_version in stored:
        seen.add(stream)
        if is_old(snapshot_version):
            continue  # nobody believes it: whoever needs it next folds the stream again
        if is_policy(stream):
            if decode_policy(snapshot, snapshot_version) != fold.policies.get(stream):
                yield f"{stream}: the policy is not what the log says"
        elif stream != owner:
            if decode_generation(snapshot, snapshot_version) != fold.generations.get(stream):
                yield f"{stream}: the head is not what the log says"
        else:
            head = decode_account(snapshot, snapshot_version)
            if balances != [head.posted, head.held, head.debt]:
                yield f"{stream}: the head's columns are not what its snapshot says"
            yield from _account(head, fold.accounts.get(stream), lots.get(owner, []))
    streams = fold.accounts.keys() | fold.generations.keys() | fold.policies.keys()
    for stream in sorted(streams - seen):
        yield f"{stream}: has events and no head"


def _account(head: AccountState, folded: AccountState | None, rows: list[LotRow]) -> Differences:
    beyond = [row.lot for row in rows if row.place == "o"]
    if folded is None or _whole(head, beyond) != folded:
        yield f"{head.owner}: the head is not what the log says"
    if {lot.grant_id for lot in head.lots} != {row.grant_id for row in rows if row.place == "h"}:
        yield f"{head.owner}: the head has other lots than its rows say"


def _lots(fold: Fold, rows: list[LotRow]) -> Differences:
    left: dict[str, dict[str, Lot]] = {}
    origins: dict[tuple[str, str], tuple[str | None, str | None]] = {}
    for row in rows:
        origins[row.owner, row.grant_id] = row.origin
        if row.place == "l":
            left.setdefault(row.owner, {})[row.grant_id] = row.lot
    for stream, state in fold.accounts.items():
        shelf = fold.shelves.get(stream, {})
        if shelf != left.get(stream, {}):
            yield f"{stream}: lots with nothing left are not what the log says"
        for lot in (*state.lots, *shelf.values()):
            if origins.get((stream, lot.grant_id)) != _origin(stream, lot):
                yield f"{lot.grant_id}: its row is missing, or has another origin"


def _origin(owner: str, lot: Lot) -> tuple[str | None, str | None]:
    if lot.origin is None:
        return None, None
    if lot.from_account is None:
        return owner, lot.origin
    return owner_of(split_owner(owner)[0], lot.from_account), lot.origin


def _holds(rows: Iterable[Any], fold: Fold) -> Differences:
    stored = {(owner, hold_id): decode_hold(state) for owner, hold_id, state in rows}
    for place in sorted(stored.keys() | fold.holds.keys()):
        if stored.get(place) != fold.holds.get(place):
            yield f"{place[1]}: the hold is not what the log says"
    held: dict[str, int] = {}
    for (owner, _), hold in fold.holds.items():
        if hold.is_open:
            held[owner] = held.get(owner, 0) + hold.hold.amount
    for stream, state in fold.accounts.items():
        if state.held != held.get(stream, 0):
            yield f"A1 {stream}: held {state.held}, open holds {held.get(stream, 0)}"


def _refunds(rows: Iterable[Any], fold: Fold) -> Differences:
    stored = {(owner, debit_id): refunded for owner, debit_id, refunded in rows}
    folded = {place: event.refunded for place, event in fold.refunds.items()}
    for place in sorted(stored.keys() | folded.keys()):
        if stored.get(place) != folded.get(place):
            yield f"{place[1]}: what was refunded is not what the log says"


def _whole(head: AccountState, beyond: list[Lot]) -> AccountState:
    lots = tuple(sorted([*head.lots, *beyond], key=burn_key))
    return msgspec.structs.replace(head, lots=lots, overflow=NO_OVERFLOW)
