"""One row of an import: what it may say, and the command that it becomes.

A row with `balance` is an opening balance, any other a line of history. The idempotency key of
its command comes from the row's own id and never from its place in the file, so that a file that
was cut, sorted or exported anew imports nothing twice.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import msgspec

from contracts import limits
from contracts.api.common import AccountId, Amount, Currency, Instant, Reason, Reference, Source
from contracts.api.log import Direction

Shape = TypeVar("Shape")

RowId = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[!-~]+$(?!\n)")]
"""The old system's id of a movement: visible ASCII, as idempotency keys are."""
OpeningBalance = Annotated[int, msgspec.Meta(ge=0, le=limits.AMOUNT_MAX_CREDITS)]
UnitCost = Annotated[int, msgspec.Meta(ge=0, le=limits.UNIT_COST_MAX_MICROS)]

NUMBERS: Final = frozenset({"balance", "amount", "unit_cost_micros"})
INSTANTS: Final = frozenset({"at", "expires_at"})
KEY_PREFIX: Final = "import:"
OPENING_PREFIX: Final = "opening:"
FIRST_OF_ALL: Final = -(2**63)

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_FIELD: Final = re.compile(r"(.+?)(?: - at `\$\.(.+)`)?", re.DOTALL)


class Kind(enum.StrEnum):
    """What a line of history did."""

    GRANT = "grant"
    DEBIT = "debit"
    REFUND = "refund"
    ADJUSTMENT = "adjustment"
    EXPIRY = "expiry"


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a row's credits came from, and until when they may be spent (null: for ever)."""

    account_id: AccountId
    source: Source | None = None
    expires_at: Instant | None = None
    unit_cost_micros: UnitCost | None = None
    currency: Currency | None = None
    reference: Reference | None = None


class OpeningRow(Terms, frozen=True, kw_only=True):
    """What an account has at the start. `id` tells several lots of one account apart."""

    balance: OpeningBalance
    id: RowId | None = None


class HistoryRow(Terms, frozen=True, kw_only=True):
    """One movement. `refund_of` is the id of the debit that a refund gives back, `direction` is
    an adjustment's."""

    id: RowId
    type: Kind
    amount: Amount
    at: Instant
    direction: Direction | None = None
    refund_of: RowId | None = None
    reason: Reason | None = None


FIELDS: Final = frozenset(OpeningRow.__struct_fields__) | frozenset(HistoryRow.__struct_fields__)


class BadRow(Exception):
    """A row that cannot be imported, and why."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is fit to be sent.

    `at` is in microseconds since 1970; opening balances come first of all. `change` is
    what it does to the balance. `name` is unique among all rows of all files. `command` is one of
    a batch, null when there is nothing to do; a refund's lacks the id of its debit.
    """

    line: int
    account_id: str
    at: int
    name: str
    change: int
    refund_of: str | None
    command: dict[str, Any] | None


def read_step(line: int, fields: Mapping[str, Any], now: datetime) -> Step:
    """Check a row and make its command. Raises `BadRow`."""
    given = {name: value for name, value in fields.items() if value is not None}
    _check_text(given)
    for name in INSTANTS & given.keys():
        given[name] = _instant(name, given[name])
    if "balance" in given:
        return _opening(line, _shaped(given, OpeningRow), now)
    return _movement(line, _shaped(given, HistoryRow), now)


def from_text(fields: Mapping[str, str]) -> dict[str, Any]:
    """A row of CSV, whose cells are all text: numbers become numbers, empty cells nothing."""
    given: dict[str, Any] = {name: text for name, text in fields.items() if text != ""}
    for name in NUMBERS & given.keys():
        if not _WHOLE.fullmatch(given[name]):
            raise BadRow(f"{name}: not a whole number")
        given[name] = int(given[name])
    return given


def _opening(line: int, row: OpeningRow, now: datetime) -> Step:
    name = f"{OPENING_PREFIX}{row.account_id}"
    if row.id is not None:
        name += f"#{row.id}"  # no account id has this character
    command = None
    if row.balance:
        command = _grant(row, name, row.balance, row.source or Source.MIGRATION, now)
    return Step(
        line=line, account_id=row.account_id, at=FIRST_OF_ALL, name=name, change=row.balance,
        refund_of=None, command=command,
    )  # fmt: skip


def _movement(line: int, row: HistoryRow, now: datetime) -> Step:
    _check_movement(row)
    at = row.at.astimezone(UTC)
    origin = {"metadata": {"imported_at_origin": at.isoformat()}}
    is_credit = row.type in {Kind.GRANT, Kind.REFUND} or row.direction is Direction.CREDIT
    if row.type is Kind.REFUND:
        # Neither a refund nor an adjustment has metadata: there the reason says when it was.
        command = _command("refund", row, row.id, row.amount, reason=_dated(row, at))
    elif is_credit:
        source = Source.MIGRATION if row.type is Kind.GRANT else Source.ADJUSTMENT
        command = _grant(row, row.id, row.amount, row.source or source, now) | origin
    elif row.type is Kind.DEBIT:
        command = _command("debit", row, row.id, row.amount, reason=row.reason or "import")
        command |= {"reference": row.reference} | origin
    else:
        command = _command("adjust", row, row.id, row.amount, reason=_dated(row, at))
        command["direction"] = "debit"
    return Step(
        line=line, account_id=row.account_id, at=_microseconds(at), name=row.id,
        change=row.amount if is_credit else -row.amount, refund_of=row.refund_of, command=command,
    )  # fmt: skip


def _grant(row: Terms, name: str, amount: int, source: Source, now: datetime) -> dict[str, Any]:
    if row.expires_at is not None and row.expires_at <= now:
        raise BadRow("expires_at: has passed; leave it out and give an expiry of its own")
    return _command("grant", row, name, amount) | {
        "source": source.value,
        # Stated even when there is none: a policy's default must not end an imported balance.
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        "unit_cost_micros": row.unit_cost_micros,
        "currency": row.currency,
        "reference": row.reference,
    }


def _command(op: str, row: Terms, name: str, amount: int, **rest: Any) -> dict[str, Any]:
    key = KEY_PREFIX + name
    return {
        "op": op, "account_id": row.account_id, "idempotency_key": key, "amount": amount, **rest
    }  # fmt: skip


def _dated(row: HistoryRow, at: datetime) -> str:
    text = f"{row.reason or row.type.value}:{at:%Y-%m-%dT%H:%M:%S.%fZ}"
    if len(text) > limits.REASON_MAX_CHARACTERS:
        raise BadRow("reason: too long to have the instant added to it")
    return text


def _check_movement(row: HistoryRow) -> None:
    if row.id.startswith(OPENING_PREFIX):
        raise BadRow(f"id: {OPENING_PREFIX} is how the names of opening balances begin")
    if (row.type is Kind.REFUND) != (row.refund_of is not None):
        raise BadRow("refund_of: a refund, and nothing else, names the debit that it gives back")
    if (row.type is Kind.ADJUSTMENT) != (row.direction in {Direction.CREDIT, Direction.DEBIT}):
        raise BadRow("direction: credit or debit, for an adjustment and nothing else")
    is_grant = row.type is Kind.GRANT or row.direction is Direction.CREDIT
    terms = (row.source, row.expires_at, row.unit_cost_micros, row.currency)
    if not is_grant and terms != (None,) * len(terms):
        raise BadRow("source, expires_at, unit_cost_micros, currency: of credits that come in only")
    if row.reference is not None and not is_grant and row.type is not Kind.DEBIT:
        raise BadRow("reference: of grants and debits only")


def _shaped(given: Mapping[str, Any], shape: type[Shape]) -> Shape:
    try:
        return msgspec.convert(given, shape, strict=True)
    except msgspec.ValidationError as error:
        found = _FIELD.fullmatch(str(error))
        assert found is not None
        raise BadRow(f"{found[2]}: {found[1]}" if found[2] else found[1]) from None


def _check_text(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, str) and ("\x00" in value or not _is_unicode(value)):
            raise BadRow(f"{name}: text with NUL, or that is not UTF-8")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _instant(name: str, value: Any) -> datetime:
    """Also as PostgreSQL prints it: `2026-01-31 12:00:00+00`."""
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise BadRow(f"{name}: not an instant with its offset, such as 2026-01-31T12:00:00Z")


def _microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
