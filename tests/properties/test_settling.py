"""Booking what is due early, late or often makes no difference to anybody (decision 9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given

from ledger_service.domain.account.settle import next_due
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import BookExpiry
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.worlds import MemoryLedger
from tests.properties.all_moves import OWNERS, Move, Player, histories, policies

HOUR = timedelta(hours=1)


def sweep_all(ledger: MemoryLedger) -> None:
    """Book what is due everywhere, until nothing is."""
    for owner in OWNERS:
        while (due := next_due(ledger.head(owner))) is not None and due <= ledger.now:
            ledger.do(BookExpiry(owner=owner))


def told(outcomes: list[Decision | Refusal]) -> list[Any]:
    """What callers are told, as far as it names no ids."""
    return [
        o if isinstance(o, Refusal) and o.fields.keys() != {"origin"} else type(o) for o in outcomes
    ]


def lots(state: AccountState) -> list[Any]:
    """What has become of each lot, in the order of their making."""
    made = sorted(state.lots, key=lambda lot: lot.grant_id)
    counted = ("amount", "remaining", "held", "spent", "repaid", "expired", "voided", "moved")
    return [
        [getattr(lot, name) for name in (*counted, "clawed_back", "kind", "expires_at", "target")]
        for lot in made
    ]


# A merged account's recurring grants reach the other one when they are booked, and a new policy
# holds for what is booked from then on: these alone depend on when that is.
def named(player: Player, move: Move) -> Move | None:
    """The same move, on a lot that this player knows already; None when it knows of none."""
    known = player.grants[OWNERS[move.who]]
    if move.kind not in ("claim", "void"):
        return move
    if not known:
        return None
    return move._replace(terms={**move.terms, "number": move.terms["number"] % len(known)})


@given(
    policies(), histories(without=("policy", "merge")) | histories(without=("policy", "schedules"))
)
def test_it_makes_no_difference_when_expiry_is_booked(policy: Policy, history: list[Move]) -> None:
    """A ledger that is swept before every command and one that never is come to the same lots."""
    lazy, eager = Player(MemoryLedger(policy)), Player(MemoryLedger(policy))
    for drawn in history:
        move = named(lazy, drawn)
        eager.ledger.wait(drawn.wait_seconds)
        sweep_all(eager.ledger)
        if move is None:
            lazy.ledger.wait(drawn.wait_seconds)
            continue
        swept = eager.play(move._replace(wait_seconds=0))
        assert told(lazy.play(move)) == told(swept)
        for owner in OWNERS:
            one, other = lazy.ledger.balances(owner), eager.ledger.balances(owner)
            assert one.held == other.held
    sweep_all(lazy.ledger)
    sweep_all(eager.ledger)
    for owner in OWNERS:
        assert lazy.ledger.balances(owner) == eager.ledger.balances(owner)
        assert lots(lazy.ledger.replayed[owner]) == lots(eager.ledger.replayed[owner])
