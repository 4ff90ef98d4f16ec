"""Random histories of accounts: moves that a ledger and a model can both play."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ledger_service.domain import commands
from ledger_service.domain.events.account import CreditsDebited
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.worlds import ALICE, MemoryLedger, granting

GRACE_SECONDS = 40


class Move(NamedTuple):
    """Wait, then do one thing; `terms` are of the kind."""

    wait_seconds: int
    kind: str
    terms: dict[str, Any]


def policies() -> st.SearchStrategy[Policy]:
    """Every choice that a tenant has."""
    graces = st.sampled_from([timedelta(0), timedelta(seconds=GRACE_SECONDS)])
    return st.builds(Policy, grace=graces, repay_debt=st.booleans())


def histories(max_size: int = 40) -> st.SearchStrategy[list[Move]]:
    """Sequences of moves, with lots that start and expire while they are played."""
    # A minimum makes histories long on average: lots must have time to burn and expire.
    return st.lists(_moves(), min_size=8, max_size=max_size)


def _moves() -> st.SearchStrategy[Move]:
    amounts = st.one_of(st.integers(1, 60), st.just(10**12))
    tags = st.sets(st.sampled_from("xyz"), max_size=2)
    grant = st.fixed_dictionaries(
        {
            "amount": amounts,
            "starts_in": st.sampled_from([None, None, 0, 5, 30]),
            "lasts": st.sampled_from([None, None, 1, 10, 60]),
            "priority": st.sampled_from([10, 50, 50]),
            "source": st.sampled_from(["purchase", "promo", "subscription"]),
            "cost": st.sampled_from([None, 0, 5]),
            "only": tags,
        }
    )
    kinds: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "grant": grant,
        "burst": st.tuples(grant, st.integers(20, 45)).map(lambda t: {**t[0], "times": t[1]}),
        "debit": st.fixed_dictionaries({"amount": st.integers(1, 150), "tags": tags}),
        "refund": st.fixed_dictionaries(
            {"number": st.integers(0, 9), "amount": st.one_of(st.none(), st.integers(1, 60))}
        ),
        "limit": st.fixed_dictionaries({"limit": st.sampled_from([0, 20, 100])}),
        "sweep": st.just({}),
    }
    weighted = ["grant"] * 4 + ["burst"] + ["debit"] * 6 + ["refund"] * 4 + ["limit", "sweep"]
    waits = st.sampled_from([0, 0, 1, 5, 20])
    return st.sampled_from(weighted).flatmap(
        lambda kind: st.builds(Move, waits, st.just(kind), kinds[kind])
    )


class Player:
    """Plays moves on one account of a ledger."""

    def __init__(self, ledger: MemoryLedger, owner: str = ALICE) -> None:
        self.ledger = ledger
        self.owner = owner
        self.debits: list[str] = []
        self._keys_made = 0
        ledger.open(owner=owner)

    def play(self, move: Move) -> list[Decision | Refusal]:
        """Wait, then do it; a burst is many commands."""
        self.ledger.wait(move.wait_seconds)
        makers: dict[str, Callable[..., commands.Command | None]] = {
            "grant": self._grant,
            "burst": self._grant,
            "debit": self._debit,
            "refund": self._refund,
            "limit": self._limit,
            "sweep": lambda: commands.BookExpiry(owner=self.owner),
        }
        terms = dict(move.terms)
        outcomes: list[Decision | Refusal] = []
        for _ in range(terms.pop("times", 1)):
            command = makers[move.kind](**terms)
            if command is not None:
                outcomes += self.ledger.batch(command)
        self.debits += [
            new.event.debit_id
            for outcome in outcomes
            if isinstance(outcome, Decision)
            for new in outcome.events
            if isinstance(new.event, CreditsDebited)
        ]
        return outcomes

    def _key(self) -> commands.Key:
        self._keys_made += 1
        return commands.Key("u", f"{self.owner}:{self._keys_made}")

    def _grant(
        self,
        *,
        amount: int,
        starts_in: int | None,
        lasts: int | None,
        priority: int,
        source: str,
        cost: int | None,
        only: set[str],
    ) -> commands.Command:
        now = self.ledger.now
        starts = None if starts_in is None else now + timedelta(seconds=starts_in)
        ends = None if lasts is None else (starts or now) + timedelta(seconds=lasts)
        return granting(
            amount,
            owner=self.owner,
            key=self._key(),
            source=source,
            priority=priority,
            effective_at=starts,
            expires_at=ends,
            unit_cost_micros=cost,
            restrict_to=tuple(sorted(only)),
        )

    def _debit(self, *, amount: int, tags: set[str]) -> commands.Command:
        return commands.DebitCredits(
            owner=self.owner, key=self._key(), amount=amount, tags=tuple(sorted(tags))
        )

    def _refund(self, *, number: int, amount: int | None) -> commands.Command | None:
        if not self.debits:
            return None
        debit_id = self.debits[number % len(self.debits)]
        return commands.RefundDebit(
            owner=self.owner, key=self._key(), debit_id=debit_id, amount=amount
        )

    def _limit(self, *, limit: int) -> commands.Command:
        return commands.ChangeCreditLimit(owner=self.owner, key=self._key(), credit_limit=limit)
