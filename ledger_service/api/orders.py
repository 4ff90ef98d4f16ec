"""What a keyed request asks of the engine, wherever it comes from: alone or within a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

from ledger_service.domain.commands import Command


class Order(NamedTuple):
    """A command, and what of the request goes to the vault (null: nothing)."""

    command: Command
    private: dict[str, Any] | None = None
