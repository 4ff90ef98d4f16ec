"""`decide(world, command, now)`: the whole law, dispatched by command. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from ledger_service.domain import commands
from ledger_service.domain.account.clawbacks import decide_clawback
from ledger_service.domain.account.decisions import (
    decide_expiry,
    decide_grant,
    decide_limit,
    decide_open,
)
from ledger_service.domain.account.holds import (
    decide_capture,
    decide_extend,
    decide_hold,
    decide_hold_expiry,
    decide_release,
    decide_releases,
)
from ledger_service.domain.account.refunds import decide_refund
from ledger_service.domain.account.spending import decide_debit
from ledger_service.domain.account.standing_changes import (
    decide_limits,
    decide_policy,
    decide_schedules,
    decide_standing,
    decide_thresholds,
    decide_void_command,
)
from ledger_service.domain.account.transfers import decide_transfer
from ledger_service.domain.account.voids import decide_grant_expiry, decide_void, decide_write_off
from ledger_service.domain.generation.cancelling import (
    decide_cancel,
    decide_delete,
    decide_media_removed,
)
from ledger_service.domain.generation.claims import decide_claim
from ledger_service.domain.generation.deadlines import decide_hint, decide_overdue
from ledger_service.domain.generation.flags import decide_flag
from ledger_service.domain.generation.reports import decide_report
from ledger_service.domain.generation.request import decide_decline, decide_request
from ledger_service.domain.world import Outcome, World

_DECISIONS: Final[dict[type[commands.Command], Callable[[World, Any, datetime], Outcome]]] = {
    commands.OpenAccount: decide_open,
    commands.ChangeCreditLimit: decide_limit,
    commands.GrantCredits: decide_grant,
    commands.DebitCredits: decide_debit,
    commands.RefundDebit: decide_refund,
    commands.PlaceHold: decide_hold,
    commands.CaptureHold: decide_capture,
    commands.ReleaseHold: decide_release,
    commands.ExtendHold: decide_extend,
    commands.ExpireHold: decide_hold_expiry,
    commands.ReleaseHolds: decide_releases,
    commands.ClawBack: decide_clawback,
    commands.VoidGrant: decide_void,
    commands.ChangeGrantExpiry: decide_grant_expiry,
    commands.WriteOffDebt: decide_write_off,
    commands.TransferCredits: decide_transfer,
    commands.ChangeStanding: decide_standing,
    commands.SetSchedules: decide_schedules,
    commands.SetThresholds: decide_thresholds,
    commands.SetLimits: decide_limits,
    commands.SetPolicy: decide_policy,
    commands.VoidCommand: decide_void_command,
    commands.Decline: decide_decline,
    commands.BookExpiry: decide_expiry,
    commands.RequestGeneration: decide_request,
    commands.ClaimGeneration: decide_claim,
    commands.CancelGeneration: decide_cancel,
    commands.DeleteGeneration: decide_delete,
    commands.FlagGeneration: decide_flag,
    commands.RemoveMedia: decide_media_removed,
    commands.ReportGeneration: decide_report,
    commands.EndOverdue: decide_overdue,
    commands.HintGeneration: decide_hint,
}


def decide(world: World, command: commands.Command, now: datetime) -> Outcome:
    """What `command` does at `now`, given the loaded world. Writes nothing."""
    return _DECISIONS[type(command)](world, command, now)
