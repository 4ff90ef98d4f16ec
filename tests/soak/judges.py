"""What must hold when all is quiet again, whatever was broken before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from tests.fixtures.checker import check_replay
from tests.fixtures.stack import Stack
from tests.soak.books import Books, Life
from tests.soak.shoppers import Shopper


def findings(books: Books, shoppers: Sequence[Shopper]) -> list[str]:
    """Everything that does not hold; empty when all is well."""
    return [
        *_orders(books, shoppers),
        *_endings(books),
        *_money(books),
        *_balances(books, shoppers),
        *_submits(books),
        *_storage(books),
    ]


def _orders(books: Books, shoppers: Sequence[Shopper]) -> Iterator[str]:
    """What was answered with a 202 is in the log, once, and nothing else is."""
    ordered = [key for shopper in shoppers for key in shopper.ordered.values()]
    if len(set(ordered)) != len(ordered):
        yield "two orders, one generation"
    for key in set(ordered) - books.lives.keys():
        yield f"{key} was acknowledged and is not in the log"
    for key in books.lives.keys() - set(ordered):
        yield f"{key} was never ordered"


def _endings(books: Books) -> Iterator[str]:
    """Each has ended, once; no row of a job is left to be looked at."""
    for key, life in books.lives.items():
        if len(life.endings) != 1:
            yield f"{key} ended {len(life.endings)} times: {life.ending}"
    if books.open_jobs:
        yield f"{books.open_jobs} jobs are still open"


def _money(books: Books) -> Iterator[str]:
    """A failure gives back all of the debit, once; a success what did not come, or nothing."""
    for key, life in books.lives.items():
        refunds = books.refunds.get(life.debit_id or "", [])
        if len(refunds) > 1:
            yield f"{key} was refunded {len(refunds)} times"
        if sum(refunds) != life.refunded:
            yield f"{key} says it was refunded {life.refunded}, the account says {sum(refunds)}"
        if life.ending == "succeeded" and not 0 <= life.refunded < life.price:
            yield f"{key} succeeded for {life.price} and was refunded {life.refunded}"
        if life.ending != "succeeded" and life.refunded != life.price:
            yield f"{key} {life.ending}: {life.refunded} of {life.price} came back"


def _balances(books: Books, shoppers: Sequence[Shopper]) -> Iterator[str]:
    """Granted less what was kept is what there is."""
    for shopper in shoppers:
        mine = [life for life in books.lives.values() if life.account_id == shopper.account_id]
        kept = sum(life.price - life.refunded for life in mine)
        balance = shopper.balance()
        if balance["posted"] != shopper.granted - kept or balance["held"]:
            yield f"{shopper.account_id}: {balance}, but {shopper.granted} - {kept} was expected"


def _submits(books: Books) -> Iterator[str]:
    """No attempt was sent twice, and the provider took no more jobs than there were attempts."""
    for attempt, times in books.asked.items():
        if times > 1:
            yield f"attempt {attempt} was sent {times} times"
    for key, accepted in books.accepted.items():
        life = books.lives.get(key)
        if life is None or accepted > life.attempts:
            yield f"{key}: {accepted} jobs at the provider"


def _storage(books: Books) -> Iterator[str]:
    """What was promised is there and as promised; what was deleted, or never promised, is not."""
    promised: dict[str, tuple[str, Life]] = {}
    for key, life in books.lives.items():
        promised |= {asset["key"]: (asset["sha256"], life) for asset in life.assets}
        if life.is_deleted and life.ending == "succeeded" and not life.is_removed:
            yield f"{key} was deleted and its media were not"
    for place in books.files:
        if place.parts[0] not in books.lives:
            yield f"{place} belongs to no generation"
        elif str(place) not in promised:
            yield f"{place} is left over: {books.lives[place.parts[0]].ending}"
        elif promised[str(place)][1].is_removed:
            yield f"{place} should be removed"
    stored = {str(place): path for place, path in books.files.items()}
    for asset_key, (sha256, life) in promised.items():
        if life.is_removed:
            continue
        if asset_key not in stored:
            yield f"{asset_key} was promised and is not there"
        elif hashlib.sha256(stored[asset_key].read_bytes()).hexdigest() != sha256:
            yield f"{asset_key} is not what was promised"


def replay(stack: Stack) -> Iterator[str]:
    """The log has no gap, and folded from nothing it gives every balance."""
    try:
        check_replay(stack)
    except AssertionError as difference:
        yield f"the replay differs: {difference}"
