"""The query of a request: only declared parameters, each once. A mistyped one never passes
unnoticed, because `?dryrun=true` on a write would spend in earnest."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from contracts.limits import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX
from ledger_service.api.body import fault, shape_fault
from ledger_service.errors import Rejected

Shape = TypeVar("Shape")

PARAMETERS_MAX: Final = 32

DRY_RUN: Final = (
    "Answer as if in earnest, with `dry_run: true`; ids, `position` and `version` that are yet to "
    "be made are null. Nothing is recorded, and no Idempotency-Key is needed or used."
)

Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
PageLimit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_LIMIT_MAX)]
Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every operation's query; by itself: no parameter at all."""


class WriteQuery(Query, frozen=True, kw_only=True):
    """`dry_run`: say what would happen, and do nothing."""

    dry_run: Annotated[bool, msgspec.Meta(description=DRY_RUN)] = False


class ReadQuery(Query, frozen=True, kw_only=True):
    """`min_position`: answer with nothing older than this position of the log (waits up to 2 s)."""

    min_position: Position | None = None


class PageQuery(ReadQuery, frozen=True, kw_only=True):
    """One page of a list: newest first, `cursor` from the page before."""

    cursor: Cursor | None = None
    limit: PageLimit = PAGE_LIMIT_DEFAULT


def read_query(raw: bytes, shape: type[Shape]) -> Shape:
    """The checked parameters. Raises `Rejected` for unknown, repeated or malformed ones."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=PARAMETERS_MAX,
        )
    except ValueError:  # also UnicodeError
        raise fault("?", "the query cannot be read") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise fault("?", "a parameter comes twice")
    if any("\x00" in text for pair in pairs for text in pair):
        raise fault("?", "text must not contain NUL")
    try:
        return msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _as_parameter(shape_fault(error)) from None


def _as_parameter(rejected: Rejected) -> Rejected:
    (error,) = rejected.errors
    return fault("?" + error.pointer.removeprefix("/"), error.detail.replace("field", "parameter"))
