"""Many commands in one request, each by itself."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec

from contracts import limits
from contracts.api.common import Reply, Request


class BatchOp(enum.StrEnum):
    """What a command of a batch does; each is an operation of its own as well."""

    GRANT = "grant"
    DEBIT = "debit"
    REFUND = "refund"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    EXTEND = "extend"
    CLAWBACK = "clawback"
    VOID = "void"
    ADJUST = "adjust"
    TRANSFER = "transfer"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    CLOSE = "close"
    WRITE_OFF = "write_off"


_COMMAND_SCHEMA = {
    "title": "BatchCommand",
    "description": (
        "Beside `op` and `idempotency_key`: the ids that the single operation has in its path "
        "(such as `account_id`), and the fields of its body."
    ),
    "type": "object",
    "required": ["op", "idempotency_key"],
    "properties": {
        "op": {"enum": [str(op) for op in BatchOp]},
        "idempotency_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": limits.IDEMPOTENCY_KEY_MAX_CHARACTERS,
        },
        "account_id": {"type": "string"},
    },
}
BatchCommand = Annotated[Any, msgspec.Meta(extra_json_schema=_COMMAND_SCHEMA)]
"""Judged one by one: a malformed command spoils no other."""
Answer = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
"""A whole document as it was sent; decode it with the type of the single operation's reply."""


class BatchRequest(Request, frozen=True, kw_only=True):
    """Commands that have nothing to do with each other."""

    commands: Annotated[
        tuple[BatchCommand, ...],
        msgspec.Meta(min_length=1, max_length=limits.BATCH_COMMANDS_MAX),
    ]


class BatchResult(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """What the single operation would have answered; `replayed`: to an earlier request."""

    status: int
    body: Answer
    replayed: bool = False


class BatchReply(Reply, frozen=True, kw_only=True):
    """One result per command, in their order."""

    results: tuple[BatchResult, ...]
