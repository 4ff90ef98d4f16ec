"""`decide(world, command, now)`: the whole law, dispatched by command. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from ledger_service.domain import commands
from ledger_service.domain.account.decisions import (
    decide_debit,
    decide_expiry,
    decide_grant,
    decide_limit,
    decide_open,
)
from ledger_service.domain.account.refunds import decide_refund
from ledger_service.domain.generation.claims import decide_claim
from ledger_service.domain.generation.deadlines import decide_hint, decide_overdue
from ledger_service.domain.generation.reports import decide_report
from ledger_service.domain.generation.request import decide_request
from ledger_service.domain.world import Outcome, World

_DECISIONS: Final[dict[type[commands.Command], Callable[[World, Any, datetime], Outcome]]] = {
    commands.OpenAccount: decide_open,
    commands.ChangeCreditLimit: decide_limit,
    commands.GrantCredits: decide_grant,
    commands.DebitCredits: decide_debit,
    commands.RefundDebit: decide_refund,
    commands.BookExpiry: decide_expiry,
    commands.RequestGeneration: decide_request,
    commands.ClaimGeneration: decide_claim,
    commands.ReportGeneration: decide_report,
    commands.EndOverdue: decide_overdue,
    commands.HintGeneration: decide_hint,
}


def decide(world: World, command: commands.Command, now: datetime) -> Outcome:
    """What `command` does at `now`, given the loaded world. Writes nothing."""
    return _DECISIONS[type(command)](world, command, now)
