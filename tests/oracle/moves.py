"""Random commands. Each is drawn from a generator of its own, so that a seed names it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.model import World
from tests.oracle.things import DAY, Account, Limit, Schedule, Terms

SECOND = 1_000_000
TENTH = SECOND // 10
MODEL = "veo-3.1-lite"
MODEL_PRICE = 20
MODEL_TAGS = frozenset({"video", MODEL})
TAGS = ((), (), (), ("video",), ("image",), ("hd", "video"))
RESTRICTIONS = ((), (), (), (), ("video",), ("hd", "image"))
SOURCES = ("promo", "purchase", "signup", "subscription", "migration")


@dataclass(frozen=True)
class Move:
    """A command of the oracle and its fields, with the oracle's ids."""

    command: str
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """The account whose reply shows its balance."""
        return str(self.fields.get("account") or self.fields["source"])


class Mover:
    """Draws the next move of one family of accounts from what the oracle knows of it."""

    def __init__(self, seed: str, world: World, names: list[str]) -> None:
        self.seed = seed
        self.world = world
        self.names = names
        self.number = 0

    def next(self, now: int) -> Move:
        """The next move; the same number always draws the same numbers."""
        while True:
            self.number += 1
            rng = random.Random(f"{self.seed}/{self.number}")
            if self.number <= len(self.names):
                return _first(rng, self.names[self.number - 1], now)
            draw = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            account = self._account(rng)
            move = draw(rng, self.world, account, now)
            if move is not None:
                return move

    def _account(self, rng: random.Random) -> Account:
        # The first accounts are busy, and what is closed or merged is seldom worth asking.
        names = [name for name in self.names if name in self.world.accounts]
        picked = self.world.accounts[names[min(rng.randrange(len(names)), rng.randrange(4))]]
        if picked.status in ("closed", "merged", "frozen") and rng.random() < 0.5:
            picked = self.world.accounts[rng.choice(names)]
        return picked


Draw = Callable[[random.Random, World, Account, int], Move | None]


def _first(rng: random.Random, name: str, now: int) -> Move:
    if rng.random() < 0.5:
        return Move("open", {"account": name, "limit": rng.choice((0, 0, 20, 60))})
    terms = _terms(rng, now)
    return Move("grant", {"account": name, "amount": rng.randint(20, 100), "terms": terms})


def _terms(rng: random.Random, now: int) -> Terms:
    starts = now + rng.randint(1, 20) * TENTH if rng.random() < 0.1 else 0
    ends = None
    if rng.random() < 0.6:
        ends = now + rng.choice((rng.randint(1, 40) * TENTH, 3_600 * SECOND, 7_200 * SECOND))
    return Terms(
        source=rng.choice(SOURCES),
        priority=rng.choice((0, 50, 50, 50, 100)),
        effective_at=starts,
        expires_at=ends,
        unit_cost=rng.choice((None, None, 10, 20)),
        restrict_to=frozenset(rng.choice(RESTRICTIONS)),
    )


def _amount(rng: random.Random, most: int) -> int:
    """Mostly less than there is, seldom all of it or more."""
    kind = rng.random()
    if most <= 0 or kind < 0.3:
        return rng.randint(1, 15)
    if kind < 0.9:
        return rng.randint(1, max(1, most // 2))
    return most + rng.randint(-1, 1) or 1


def _grant(rng: random.Random, world: World, account: Account, now: int) -> Move:
    terms = _terms(rng, now)
    fields = {"account": account.id, "amount": rng.randint(1, 60), "terms": terms}
    if terms.expires_at is None and rng.random() < 0.5:
        fields["is_open"] = True
    return Move("grant", fields)


def _debit(rng: random.Random, world: World, account: Account, now: int) -> Move:
    tags = frozenset(rng.choice(TAGS))
    amount = _amount(rng, account.available(now))
    return Move("debit", {"account": account.id, "amount": amount, "tags": tags})


def _hold(rng: random.Random, world: World, account: Account, now: int) -> Move:
    tags = frozenset(rng.choice(TAGS))
    fields: dict[str, Any] = {"account": account.id, "tags": tags}
    fields["amount"] = _amount(rng, account.available(now))
    ttl = rng.choice((None, SECOND, 2 * SECOND, 600 * SECOND))
    return Move("hold", fields if ttl is None else {**fields, "ttl": ttl})


def _some_hold(rng: random.Random, account: Account) -> Any:
    open_holds = [hold for hold in account.holds if hold.status == "open"]
    if not open_holds or rng.random() < 0.05:
        open_holds = account.holds
    return rng.choice(open_holds) if open_holds else None


def _capture(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    if (hold := _some_hold(rng, account)) is None:
        return None
    fields: dict[str, Any] = {"account": account.id, "hold": hold.id}
    if rng.random() < 0.7:
        fields["amount"] = rng.randint(1, hold.amount + (rng.random() < 0.1))
    return Move("capture", fields)


def _release(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    hold = _some_hold(rng, account)
    return hold and Move("release", {"account": account.id, "hold": hold.id})


def _extend(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    if (hold := _some_hold(rng, account)) is None:
        return None
    ttl = rng.choice((SECOND, 600 * SECOND))
    return Move("extend", {"account": account.id, "hold": hold.id, "ttl": ttl})


def _refund(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    left = [debit for debit in account.debits if debit.refunded < debit.amount]
    if not left or rng.random() < 0.05:
        left = account.debits
    if not left:
        return None
    debit = rng.choice(left)
    fields: dict[str, Any] = {"account": account.id, "debit": debit.id}
    if rng.random() < 0.6:
        most = debit.amount - debit.refunded
        fields["amount"] = rng.randint(1, max(1, most) + (rng.random() < 0.1))
    return Move("refund", fields)


def _clawback(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    lots = [lot for lot in account.lots if lot.kind in ("grant", "scheduled")]
    claimed = [lot for lot in lots if lot.claims]
    if claimed and rng.random() < 0.6:
        lots = claimed
    if rng.random() < 0.05:
        lots = account.lots
    if not lots:
        return None
    lot = rng.choice(lots)
    fields: dict[str, Any] = {"account": account.id, "lot": lot.id}
    fields["reference"] = f"store-{rng.randint(1, 2)}"
    fields["as_of"] = (1_700_000_000 + rng.randint(1, 8)) * SECOND
    if rng.random() < 0.5:
        fields["fraction_millis"] = rng.choice((0, 0, 333, 500, 1000))
    else:
        fields["amount"] = rng.choice((0, rng.randint(1, lot.g), lot.g))
    return Move("clawback", fields)


def _void(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    if not account.lots:
        return None
    return Move("void", {"account": account.id, "lot": rng.choice(account.lots).id})


def _generate(rng: random.Random, world: World, account: Account, now: int) -> Move:
    fields = {"account": account.id, "amount": MODEL_PRICE, "tags": MODEL_TAGS}
    return Move("generate", fields)


def _fail(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    if not account.debits:
        return None
    return Move("fail", {"account": account.id, "debit": rng.choice(account.debits).id})


def _write_off(rng: random.Random, world: World, account: Account, now: int) -> Move | None:
    if account.debt == 0 and rng.random() < 0.9:
        return None
    fields: dict[str, Any] = {"account": account.id}
    if rng.random() < 0.6:
        fields["amount"] = rng.randint(1, account.debt + 3)
    return Move("write_off", fields)


def _adjust(rng: random.Random, world: World, account: Account, now: int) -> Move:
    direction = rng.choice(("credit", "debit"))
    amount = rng.randint(1, 20)
    return Move("adjust", {"account": account.id, "amount": amount, "direction": direction})


def _transfer(rng: random.Random, world: World, account: Account, now: int) -> Move:
    target = rng.choice(list(world.accounts))
    most = account.available(now) - account.limit
    amount = "all" if rng.random() < 0.3 else _amount(rng, most)
    return Move("transfer", {"source": account.id, "target": target, "amount": amount})


def _merge(rng: random.Random, world: World, account: Account, now: int) -> Move:
    target = rng.choice(list(world.accounts))
    fields: dict[str, Any] = {"source": account.id, "target": target}
    return Move("transfer", {**fields, "amount": "all", "merge": True})


def _status(rng: random.Random, world: World, account: Account, now: int) -> Move:
    status = rng.choices(("active", "frozen", "closed"), (20, 6, 1))[0]
    return Move("set_status", {"account": account.id, "status": status})


def _change_limit(rng: random.Random, world: World, account: Account, now: int) -> Move:
    limit = rng.choice((0, 10, 30, 80))
    return Move("change_limit", {"account": account.id, "limit": limit})


def _limits(rng: random.Random, world: World, account: Account, now: int) -> Move:
    some = [
        Limit(
            id="a",
            amount=rng.randint(30, 200),
            window=rng.choice(("day", "month")),
            per_spender=rng.random() < 0.3,
        ),
        Limit(id="b", amount=rng.randint(60, 300), window="lifetime"),
    ]
    return Move(
        "set_limits", {"account": account.id, "limits": tuple(rng.sample(some, rng.randint(0, 2)))}
    )


def _schedules(rng: random.Random, world: World, account: Account, now: int) -> Move:
    unit = rng.choice(("day", "week", "month", "year"))
    ago = rng.randint(0, 3) * {"day": 1, "week": 7, "month": 31, "year": 365}[unit] * DAY
    schedule = Schedule(
        id=f"plan-{rng.randint(1, 2)}",
        amount=rng.randint(5, 40),
        unit=unit,
        every=rng.choice((1, 1, 1, 2)),
        ends_at=rng.choice((None, None, now + 4 * SECOND)),
        lasts=rng.choice((1, 1, 1, 2, None)),
        starts_at=now // SECOND * SECOND - ago + rng.randint(-3, 3) * SECOND,
        time_zone=rng.choice(("UTC", "Europe/Berlin", "Asia/Kolkata")),
        rollover_cap=rng.choice((0, 10, 50)),
    )
    some = (schedule,) if rng.random() < 0.9 else ()
    return Move("set_schedules", {"account": account.id, "schedules": some})


def _thresholds(rng: random.Random, world: World, account: Account, now: int) -> Move:
    levels = tuple(sorted(rng.sample((5, 10, 50, 100), rng.randint(0, 2))))
    return Move("set_thresholds", {"account": account.id, "levels": levels})


WEIGHTS: dict[Draw, float] = {
    _grant: 17,
    _debit: 20,
    _hold: 12,
    _capture: 7,
    _release: 4,
    _extend: 2,
    _refund: 12,
    _generate: 2,
    _fail: 4,
    _clawback: 9,
    _void: 2,
    _write_off: 3,
    _adjust: 2,
    _transfer: 5,
    _merge: 0.6,
    _status: 3,
    _change_limit: 2,
    _limits: 1,
    _schedules: 1,
    _thresholds: 0.5,
}
