"""Topics: the names under which events are stored, with their codecs.

A topic is a name and a version, never a module path, so that code can move and history stays.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger_service.domain.events import (
    account,
    clawbacks,
    generation,
    holds,
    policy,
    standing,
    transfers,
)
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.events.generation import GenerationEvent
from ledger_service.domain.events.policy import PolicyEvent
from ledger_service.errors import CorruptHistory, UnknownTopic

Event = AccountEvent | GenerationEvent | PolicyEvent

TOPICS: Final[dict[str, type[Event]]] = {
    "account_opened.v1": account.AccountOpened,
    "credit_limit_changed.v1": account.CreditLimitChanged,
    "credits_granted.v1": account.CreditsGranted,
    "credits_debited.v1": account.CreditsDebited,
    "debit_refunded.v1": account.DebitRefunded,
    "lot_derived.v1": account.LotDerived,
    "credits_expired.v1": account.CreditsExpired,
    "command_accepted.v1": account.CommandAccepted,
    "command_voided.v1": account.CommandVoided,
    "hold_placed.v1": holds.HoldPlaced,
    "hold_captured.v1": holds.HoldCaptured,
    "hold_released.v1": holds.HoldReleased,
    "hold_expired.v1": holds.HoldExpired,
    "hold_extended.v1": holds.HoldExtended,
    "holds_released.v1": holds.HoldsReleased,
    "grant_clawed_back.v1": clawbacks.GrantClawedBack,
    "credits_reclaimed.v1": clawbacks.CreditsReclaimed,
    "grant_voided.v1": clawbacks.GrantVoided,
    "grant_expiry_changed.v1": clawbacks.GrantExpiryChanged,
    "credits_voided.v1": clawbacks.CreditsVoided,
    "debt_written_off.v1": clawbacks.DebtWrittenOff,
    "credits_transferred_out.v1": transfers.CreditsTransferredOut,
    "debt_forwarded.v1": transfers.DebtForwarded,
    "debt_assumed.v1": transfers.DebtAssumed,
    "account_merged.v1": transfers.AccountMerged,
    "account_frozen.v1": standing.AccountFrozen,
    "account_unfrozen.v1": standing.AccountUnfrozen,
    "account_closed.v1": standing.AccountClosed,
    "schedules_set.v1": standing.SchedulesSet,
    "thresholds_set.v1": standing.ThresholdsSet,
    "threshold_crossed.v1": standing.ThresholdCrossed,
    "expiry_coming.v1": standing.ExpiryComing,
    "limits_set.v1": standing.LimitsSet,
    "policy_set.v1": policy.PolicySet,
    "generation_requested.v1": generation.GenerationRequested,
    "submission_started.v1": generation.SubmissionStarted,
    "submission_lost.v1": generation.SubmissionLost,
    "generation_submitted.v1": generation.GenerationSubmitted,
    "generation_started.v1": generation.GenerationStarted,
    "attempt_abandoned.v1": generation.AttemptAbandoned,
    "deadline_passed.v1": generation.DeadlinePassed,
    "cancel_requested.v1": generation.CancelRequested,
    "generation_deleted.v1": generation.GenerationDeleted,
    "media_removed.v1": generation.MediaRemoved,
    "generation_flagged.v1": generation.GenerationFlagged,
    "generation_succeeded.v1": generation.GenerationSucceeded,
    "generation_failed.v1": generation.GenerationFailed,
    "generation_cancelled.v1": generation.GenerationCancelled,
    "generation_expired.v1": generation.GenerationExpired,
    "late_fact_recorded.v1": generation.LateFactRecorded,
}

_TOPIC_OF: Final = {event_type: topic for topic, event_type in TOPICS.items()}
_DECODERS: Final = {topic: msgspec.json.Decoder(kind) for topic, kind in TOPICS.items()}
_ENCODER: Final = msgspec.json.Encoder()


def topic_of(event: Event) -> str:
    """The topic under which an event is stored."""
    return _TOPIC_OF[type(event)]


def encode(event: Event) -> bytes:
    """The exact bytes that are stored."""
    return _ENCODER.encode(event)


def decode(topic: str, state: bytes) -> Event:
    """Read a stored event. Raises `UnknownTopic`, or `CorruptHistory` for what is no such event."""
    decoder = _DECODERS.get(topic)
    if decoder is None:
        raise UnknownTopic(topic)
    try:
        return decoder.decode(state)
    except msgspec.MsgspecError as error:
        raise CorruptHistory(f"{topic}: {error}") from None
