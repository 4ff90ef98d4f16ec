"""At the end of a family: everything that can be read of it against the oracle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.oracle.families import Family
from tests.oracle.nouns import hold_differences, lot_differences, pairs_differences
from tests.oracle.things import Account, Debit


def compare_all(http: httpx.Client, family: Family) -> list[str]:
    """Every account, grant, hold and debit."""
    for name, account in family.world.accounts.items():
        if found := _compare(http, family, account):
            return [f"{name}: {one}" for one in found]
    return []


def listed(http: httpx.Client, path: str) -> list[Any]:
    """All items of a list, oldest first."""
    items: list[Any] = []
    query: dict[str, Any] = {"limit": 200}
    while True:
        page = _get(http, path, **query)
        items += page["items"]
        if page["next_cursor"] is None:
            return items[::-1]
        query["cursor"] = page["next_cursor"]


def _compare(http: httpx.Client, family: Family, account: Account) -> list[str]:
    path = f"/v1/accounts/{account.id}"
    return (
        _compare_balance(_get(http, path), account)
        + _compare_lots(listed(http, f"{path}/grants"), family, account)
        + _compare_debits(listed(http, f"{path}/debits"), family, account)
        + (_compare_holds(listed(http, f"{path}/holds"), account) if account.holds else [])
    )


def _compare_balance(told: Any, account: Account) -> list[str]:
    expected = {
        "balance": account.balance(_now()),
        "status": account.status,
        "merged_into": account.merged_into,
    }
    shown = {name: told[name] for name in expected}
    return [] if shown == expected else [f"reads as {shown}, the oracle says {expected}"]


def _compare_lots(told: list[Any], family: Family, account: Account) -> list[str]:
    if len(told) != len(account.lots):
        return [f"{len(told)} grants, the oracle says {len(account.lots)}"]
    found = []
    for lot, grant in zip(account.lots, told, strict=True):
        if not family.ids.bind(lot.id, grant["grant_id"]):
            found.append(f"{grant['grant_id']} stands where {lot.id} should")
        found += [f"{lot.id} {one}" for one in lot_differences(lot, grant, _now())]
    return found


def _compare_debits(told: list[Any], family: Family, account: Account) -> list[str]:
    return _compare_each(told, account.debits, lambda ours, it: _debit(ours, it, family))


def _debit(ours: Debit, told: Any, family: Family) -> list[str]:
    pairs = [(part.lot, part.amount) for part in ours.slices]
    found = pairs_differences(pairs, told["lots"], family.ids)
    if not family.ids.bind(ours.id, told["debit_id"]):
        found.append(f"{told['debit_id']} stands where {ours.id} should")
    if (told["amount"], told["refunded"]) != (ours.amount, ours.refunded):
        found.append(f"{told}, the oracle says {ours}")
    return found


def _compare_holds(told: list[Any], account: Account) -> list[str]:
    return _compare_each(told, account.holds, hold_differences)


def _compare_each(
    told: list[Any], ours: list[Any], differences: Callable[[Any, Any], list[str]]
) -> list[str]:
    if len(told) != len(ours):
        return [f"{len(told)} listed, the oracle says {len(ours)}"]
    found = []
    for one, it in zip(ours, told, strict=True):
        found += [f"{one.id} {difference}" for difference in differences(one, it)]
    return found


def _get(http: httpx.Client, path: str, **query: Any) -> Any:
    answer = http.get(path, params=query)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()


def _now() -> int:
    return time.time_ns() // 1_000
