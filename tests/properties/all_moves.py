"""Random histories of three accounts in which everything happens that can happen to credits.

Beside `moves.py`, which one account and a naive model play: these are judged by what always holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from contracts.api.accounts import AccountStatus
from ledger_service.domain import commands
from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.events.account import CreditsDebited, CreditsGranted, LotDerived
from ledger_service.domain.events.holds import HoldCaptured, HoldPlaced
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.worlds import ALICE, BOB, CAROL, NOON, TENANT, MemoryLedger, granting

OWNERS = (ALICE, BOB, CAROL)
HOUR, DAY = 3_600, 86_400
REFERENCES = ("one", "two")
KEYS = ("key-a", "key-b")
Terms = dict[str, Any]


class Move(NamedTuple):
    """Wait, then one thing happens to the account `who`; `terms` are of the kind."""

    wait_seconds: int
    kind: str
    who: int
    terms: Terms


def seconds(value: int) -> timedelta:
    """A time of so many seconds."""
    return timedelta(seconds=value)


def policies() -> st.SearchStrategy[Policy]:
    """Every choice that a tenant has."""
    ends = st.sampled_from([{}, {}, {"promo": seconds(DAY)}])
    limits = st.sampled_from([(), (), (SpendLimit(limit_id="p", amount=300),)])
    return st.builds(
        Policy,
        grace=st.sampled_from([timedelta(0), timedelta(days=7)]),
        repay_debt=st.booleans(),
        promotional_first=st.booleans(),
        expires_after=ends,
        limits=limits,
    )


def histories(max_size: int = 60, *, without: Iterable[str] = ()) -> st.SearchStrategy[list[Move]]:
    """Sequences of moves, long enough for lots to move, expire and be taken back."""
    left_out = frozenset(without)
    moves = st.lists(_moves(left_out), min_size=15, max_size=max_size)
    return st.tuples(_beginnings(left_out), moves).map(lambda drawn: [*drawn[0], *drawn[1]])


def _beginnings(without: frozenset[str]) -> st.SearchStrategy[list[Move]]:
    """Accounts begin with lots of many kinds: else most of what follows would be refused."""
    grants = st.builds(Move, st.just(0), st.just("grant"), st.sampled_from([0, 0, 1]), _lots())
    terms = [
        st.builds(Move, st.just(0), st.just(kind), st.just(0), _kinds()[kind][1])
        for kind in ("schedules", "thresholds", "limits", "credit")
        if kind not in without
    ]
    return st.tuples(st.lists(grants, min_size=5, max_size=9), *terms).map(
        lambda drawn: [*drawn[0], *drawn[1:]]
    )


def _amounts() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(1, 60), st.integers(1, 200))


def _others() -> st.SearchStrategy[int]:
    return st.sampled_from([1, 1, 1, 1, 2, 2, 2, 0])  # how many accounts further on


def _lots() -> st.SearchStrategy[Terms]:
    return st.fixed_dictionaries(
        {
            "amount": st.one_of(st.integers(1, 60), st.integers(1, 200), st.integers(60, 300)),
            "starts_in": st.sampled_from([None, None, None, 0, 30, HOUR]),
            "lasts": st.sampled_from([None, None, 30, HOUR, DAY, 3 * DAY]),
            "priority": st.sampled_from([10, 50, 50]),
            "source": st.sampled_from(["purchase", "promo", "subscription"]),
            "cost": st.sampled_from([None, 0, 5]),
            "only": st.sampled_from([(), (), (), ("x",), ("x", "y")]),
        }
    )


def _spends() -> st.SearchStrategy[Terms]:
    return st.fixed_dictionaries(
        {
            "amount": _amounts(),
            "tags": st.sampled_from([(), ("x",), ("y", "z")]),
            "reference": st.sampled_from([None, *REFERENCES]),
            "spender": st.sampled_from([None, *KEYS]),
        }
    )


def _claims() -> st.SearchStrategy[Terms]:
    how_much: st.SearchStrategy[Terms] = st.one_of(
        st.integers(0, 200).map(lambda amount: {"amount": amount}),
        st.sampled_from([0, 333, 500, 1000]).map(lambda millis: {"fraction_millis": millis}),
    )
    named = st.tuples(st.sampled_from(REFERENCES), st.integers(0, 6))
    return st.tuples(st.integers(0, 30), named, how_much).map(
        lambda drawn: {
            "number": drawn[0],
            "reference": drawn[1][0],
            "as_of": NOON + seconds(drawn[1][1]),
            **drawn[2],
        }
    )


def _schedules() -> st.SearchStrategy[Terms]:
    one = st.builds(
        Schedule,
        schedule_id=st.sampled_from(["s", "t"]),
        amount=st.integers(1, 60),
        unit=st.sampled_from(["day", "day", "week", "month"]),
        every=st.sampled_from([1, 1, 2]),
        starts_at=st.integers(-5, 2).map(lambda days: NOON + timedelta(days=days)),
        ends_at=st.sampled_from([None, NOON + timedelta(days=4)]),
        time_zone=st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]),
        expires_after_periods=st.sampled_from([None, 1, 1, 2]),
        rollover_cap=st.sampled_from([0, 20, 1000]),
        restrict_to=st.sampled_from([(), (), ("x",)]),
    )
    return st.lists(one, max_size=2, unique_by=lambda each: each.schedule_id).map(
        lambda found: {"schedules": tuple(found)}
    )


def _limits() -> st.SearchStrategy[Terms]:
    whose: list[Terms] = [{}, {}, {"per_key": True}, {"key_id": KEYS[0]}]
    kinds = st.sampled_from([*whose, {"per_key": True, "key_id": KEYS[1]}])
    one = st.tuples(
        st.sampled_from(["l", "m"]),
        st.integers(1, 200),
        st.sampled_from(["day", "month", "lifetime"]),
        kinds,
    ).map(lambda t: SpendLimit(limit_id=t[0], amount=t[1], window=t[2], **t[3]))
    return st.lists(one, max_size=2, unique_by=lambda each: each.limit_id).map(
        lambda found: {"limits": tuple(found)}
    )


def _thresholds() -> st.SearchStrategy[Terms]:
    levels = st.sets(st.sampled_from([0, 1, 50, 100]), max_size=3)
    return st.builds(
        Thresholds,
        low_balance=levels.map(lambda found: tuple(sorted(found))),
        expiry_notice_seconds=st.sampled_from([None, 60, 2 * DAY]),
    ).map(lambda thresholds: {"thresholds": thresholds})


def _numbered(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Terms]:
    return st.fixed_dictionaries({"number": st.integers(0, 30), **more})


def _kinds() -> dict[str, tuple[int, st.SearchStrategy[Terms]]]:
    """How often each kind of move comes, and what it takes."""
    none: st.SearchStrategy[Terms] = st.just({})
    maybe = st.one_of(st.none(), _amounts())
    ttls = st.sampled_from([1, HOUR, 2 * DAY])
    statuses = [AccountStatus.FROZEN, AccountStatus.ACTIVE, AccountStatus.ACTIVE]
    statuses += [AccountStatus.ACTIVE, AccountStatus.CLOSED]
    return {
        "grant": (7, _lots()),
        "burst": (
            1,
            st.tuples(_lots(), st.integers(20, 45)).map(lambda t: {**t[0], "times": t[1]}),
        ),
        "debit": (6, _spends()),
        "adjust": (1, st.fixed_dictionaries({"amount": _amounts()})),
        "refund": (4, _numbered(amount=maybe)),
        "hold": (5, st.tuples(_spends(), ttls).map(lambda t: {**t[0], "ttl": seconds(t[1])})),
        "capture": (3, _numbered(amount=maybe)),
        "release": (2, _numbered()),
        "extend": (1, _numbered(ttl=ttls.map(seconds))),
        "expire_holds": (2, none),
        "release_all": (1, st.fixed_dictionaries({"reference": st.sampled_from(REFERENCES)})),
        "claim": (6, _claims()),
        "void": (1, _numbered()),
        "write_off": (1, st.fixed_dictionaries({"amount": maybe})),
        "transfer": (4, st.fixed_dictionaries({"to": _others(), "amount": maybe})),
        "merge": (1, st.fixed_dictionaries({"to": _others()})),
        "standing": (1, st.fixed_dictionaries({"status": st.sampled_from(statuses)})),
        "schedules": (1, _schedules()),
        "thresholds": (1, _thresholds()),
        "limits": (1, _limits()),
        "policy": (1, policies().map(lambda policy: {"policy": policy})),
        "credit": (2, st.fixed_dictionaries({"credit_limit": st.sampled_from([0, 20, 100])})),
        "sweep": (2, none),
    }


def _moves(without: frozenset[str]) -> st.SearchStrategy[Move]:
    waits = st.sampled_from([0, 0, 0, 1, 30, HOUR, DAY, 3 * DAY])
    whose = st.sampled_from([0, 0, 0, 1, 1, 2])
    return st.one_of(
        [
            st.builds(Move, waits, st.just(kind), whose, terms)
            for kind, (weight, terms) in _kinds().items()
            for _ in range(weight)
            if kind not in without
        ]
    )


_PLAIN: Final[dict[str, tuple[type[commands.Command], bool, Terms]]] = {
    # the command, whether it has a key, and what is not drawn
    "debit": (commands.DebitCredits, True, {}),
    "adjust": (commands.DebitCredits, True, {"is_adjustment": True}),
    "hold": (commands.PlaceHold, True, {}),
    "release_all": (commands.ReleaseHolds, True, {}),
    "write_off": (commands.WriteOffDebt, True, {}),
    "transfer": (commands.TransferCredits, True, {}),
    "merge": (commands.TransferCredits, True, {"is_merge": True}),
    "standing": (commands.ChangeStanding, True, {}),
    "credit": (commands.ChangeCreditLimit, False, {}),
    "schedules": (commands.SetSchedules, False, {}),
    "thresholds": (commands.SetThresholds, False, {}),
    "limits": (commands.SetLimits, False, {}),
    "sweep": (commands.BookExpiry, False, {}),
}
_NAMED: Final[dict[str, tuple[type[commands.Command], str]]] = {
    "refund": (commands.RefundDebit, "debit_id"),
    "capture": (commands.CaptureHold, "hold_id"),
    "release": (commands.ReleaseHold, "hold_id"),
    "extend": (commands.ExtendHold, "hold_id"),
    "claim": (commands.ClawBack, "grant_id"),
    "void": (commands.VoidGrant, "grant_id"),
}


class Player:
    """Plays moves on the accounts of a ledger, and remembers what can be named in later ones."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.grants: dict[str, list[str]] = {owner: [] for owner in OWNERS}
        self.debits: dict[str, list[str]] = {owner: [] for owner in OWNERS}
        self.holds: dict[str, list[str]] = {owner: [] for owner in OWNERS}
        self._seen = 0
        self._keys_made = 0
        for owner in OWNERS:
            ledger.open(owner=owner)
        self._look()

    def play(self, move: Move) -> list[Decision | Refusal]:
        """Wait, then do it; some moves are many commands, some cannot be made yet."""
        self.ledger.wait(move.wait_seconds)
        self._look()
        outcomes = []
        for command in self.asked(move):
            outcomes += self.ledger.batch(command)
            self._look()
        return outcomes

    def asked(self, move: Move) -> list[commands.Command]:
        """What the move asks for, as things stand now."""
        owner, terms = OWNERS[move.who], dict(move.terms)
        times = terms.pop("times", 1)
        if move.kind == "expire_holds":
            return self._due_holds(owner)
        if move.kind in ("grant", "burst"):
            return [self._grant(owner, **terms) for _ in range(times)]
        if move.kind == "policy":
            return [commands.SetPolicy(owner=policy_owner(TENANT), **terms)]
        if "number" in terms:
            return self._named(move.kind, owner, terms)
        if "to" in terms:
            terms["to_owner"] = OWNERS[(move.who + terms.pop("to")) % len(OWNERS)]
        kind, is_keyed, more = _PLAIN[move.kind]
        key = self._key() if is_keyed else None
        return [kind(owner=owner, key=key, **terms, **more)]

    def _named(self, kind: str, owner: str, terms: Terms) -> list[commands.Command]:
        """A command on something that was made before, if anything was."""
        made, field = _NAMED[kind]
        known = {"grant_id": self.grants, "debit_id": self.debits, "hold_id": self.holds}
        found = known[field][owner]
        if not found:
            return []
        terms[field] = found[terms.pop("number") % len(found)]
        return [made(owner=owner, key=self._key(), **terms)]

    def _look(self) -> None:
        for new in self.ledger.log[self._seen :]:
            event = new.event
            if isinstance(event, CreditsGranted | LotDerived):
                self.grants[new.owner].append(event.grant_id)
            elif isinstance(event, CreditsDebited | HoldCaptured):
                self.debits[new.owner].append(event.debit_id)
            elif isinstance(event, HoldPlaced):
                self.holds[new.owner].append(event.hold.hold_id)
        self._seen = len(self.ledger.log)

    def _key(self) -> commands.Key:
        self._keys_made += 1
        return commands.Key("u", str(self._keys_made))

    def _due_holds(self, owner: str) -> list[commands.Command]:
        return [
            commands.ExpireHold(owner=owner, hold_id=hold_id)
            for hold_id in self.holds[owner]
            if self.ledger.holds[hold_id].hold.expires_at <= self.ledger.now
        ]

    def _grant(
        self,
        owner: str,
        *,
        amount: int,
        starts_in: int | None,
        lasts: int | None,
        priority: int,
        source: str,
        cost: int | None,
        only: tuple[str, ...],
    ) -> commands.Command:
        now = self.ledger.now
        starts = None if starts_in is None else now + seconds(starts_in)
        return granting(
            amount,
            owner=owner,
            key=self._key(),
            source=source,
            priority=priority,
            effective_at=starts,
            expires_at=None if lasts is None else (starts or now) + seconds(lasts),
            unit_cost_micros=cost,
            restrict_to=only,
            is_expiry_open=lasts is None,
        )
