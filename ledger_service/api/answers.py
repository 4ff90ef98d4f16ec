"""What first answers are made of, whatever the command, and the list of what makes them.

A replay must be the first answer byte for byte, for ever. So the functions of a version never
change once they have been in use, and neither do the shapes they fill, which is why those are
spelled out: whoever wants another answer adds a version, and `Answer.reply` says which version was
current when the first one was made. What a version does not have anew is as in the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Protocol

from ledger_service.api.shapes import Private
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import Answer, Slice
from ledger_service.domain.ids import split_owner


class Bearer(Protocol):
    """A recorded event that bears a key, fresh from the engine or read back."""

    @property
    def position(self) -> int:
        """Its position in the log."""

    @property
    def owner(self) -> str:
        """Tenant and account."""

    @property
    def stream(self) -> str:
        """The account's own stream, or that of one of its generations."""

    @property
    def event(self) -> Event:
        """The event itself; its `command` says what the first answer said of the account."""

    @property
    def recorded_at(self) -> datetime:
        """The command's time."""


Renderer = Callable[[Bearer, Private | None], dict[str, Any]]

_RENDERERS: Final[dict[tuple[int, type[Event]], Renderer]] = {}


def renders(reply_version: int, event_type: type[Event]) -> Callable[[Renderer], Renderer]:
    """Register what makes the answers of this version for commands borne by such events."""

    def register(renderer: Renderer) -> Renderer:
        assert (reply_version, event_type) not in _RENDERERS
        _RENDERERS[reply_version, event_type] = renderer
        return renderer

    return register


def answer_in(bearer: Bearer) -> Answer:
    """What the event keeps of the first answer."""
    answer: Answer | None = getattr(bearer.event, "command", None)
    assert answer is not None, "an event that bears a key keeps its answer"
    return answer


def renderer_of(bearer: Bearer) -> Renderer:
    """What made the first answer to this command."""
    for version in range(answer_in(bearer).reply, 0, -1):
        if found := _RENDERERS.get((version, type(bearer.event))):
            return found
    raise AssertionError(f"nothing renders {type(bearer.event).__name__}")


def outcome_v1(bearer: Bearer) -> dict[str, Any]:
    """What every answer begins with: position, time, and the account after the command."""
    answer = answer_in(bearer)
    position = bearer.position + answer.trailing
    return {
        "position": position,
        "recorded_at": bearer.recorded_at,
        "account": {
            "account_id": split_owner(bearer.owner)[1],
            "unit": answer.unit,
            "status": answer.status,
            "version": answer.version,
            "position": position,
            "balance": {
                "posted": answer.posted,
                "held": answer.held,
                "available": answer.available,
                "debt": answer.debt,
                "credit_limit": answer.credit_limit,
                "pending_expiry": answer.pending_expiry,
            },
            "merged_into": answer.merged_into,
            "opened_at": answer.opened_at,
        },
    }


def lots_v1(slices: tuple[Slice, ...]) -> list[dict[str, Any]]:
    """Slices by grant."""
    return [{"grant_id": part.grant_id, "amount": part.amount} for part in slices]
