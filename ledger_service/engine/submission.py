"""What goes into the engine and what comes out of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ledger_service.domain.commands import Command
from ledger_service.domain.events import Event


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A command with who asked and how.

    `fingerprint` (32 bytes) tells one request from another under the same key. `private` is what
    goes to the vault: metadata, free text, inputs. `trace_id` also tells this very submission
    from an earlier one with the same key. A dry run is decided like any other, and that is all.
    """

    command: Command
    actor: str
    trace_id: str
    occurred_at: datetime
    fingerprint: bytes | None = None
    private: dict[str, Any] | None = None
    is_dry_run: bool = False


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it stands in the log."""

    log: str
    position: int
    owner: str
    stream: str
    version: int
    event: Event
    recorded_at: datetime
    actor: str | None
    fingerprint: bytes | None = None
    trace_id: str | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A command that is durable.

    `answer` is the event that bears a keyed command's answer: replies are rendered from it alone
    (and from the vault entry that it names), so that a replay is the first answer byte for byte.
    `position` is the newest one of the command, `result` what an unkeyed command tells.

    After a dry run nothing is durable and positions mean nothing; `planned` are the events that
    would have been recorded, as (stream, version).
    """

    answer: Recorded | None = None
    is_replay: bool = False
    position: int | None = None
    recorded_at: datetime | None = None
    result: Any = None
    planned: tuple[tuple[str, int], ...] | None = None
