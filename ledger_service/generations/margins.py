"""What past generations brought in and what they cost: by model, and in all.

Money is counted in millionths of the operator's currency. What a credit brought in is the
`unit_cost_micros` of the lot that paid; what a generation cost is its billable units, as the
provider told them, times the `unit_cost_micros` of the catalogue of today.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import msgspec

from contracts.api.prices import PriceType
from ledger_service.domain.events.generation import (
    GenerationEnded,
    GenerationExpired,
    GenerationSucceeded,
)
from ledger_service.generations.document import BookRule, Document
from ledger_service.store.margins import Made, read_made
from ledger_service.store.models import read_orders
from ledger_service.store.pool import Connection, snapshot

ORDERS_PER_READ: Final = 500
TOTAL: Final = "total"
NO_CURRENCY: Final = ""
"""Stands for the currency of lots that have a cost and no currency."""
_UNITS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?(?!\n)", re.ASCII)


class Ours(enum.StrEnum):
    """Why a cost is ours alone: nobody paid for it."""

    LATE_SUCCESS = "late_success"
    BILLED_FAILURE = "billed_failure"
    EXPIRED_OPEN = "expired_open"
    LATE_SUBMIT = "late_submit"


class OwnCost(msgspec.Struct, kw_only=True):
    """Generations of one model whose cost is ours, for one reason. `cost_micros` is null where it
    is not known for all of them; `units` are those that are known."""

    reason: Ours
    model: str
    generations: int = 0
    units: Decimal = Decimal(0)
    cost_micros: int | None = 0


class Margin(msgspec.Struct, kw_only=True):
    """One model's generations, or all of them.

    `unpriced` credits were paid by lots without a cost (or on credit) and brought in nothing;
    `units_assumed` counts generations of whose units the provider said nothing: what was sold is
    taken for them. `cost_micros` is null for a model without a cost in the catalogue, `uncosted`
    counts its billed generations. `margin_micros` is null then, and where several currencies came
    in; the total's is that of the models with a cost, and it has no units.
    """

    model: str
    generations: int = 0
    charged: int = 0
    refunded: int = 0
    units: Decimal | None = Decimal(0)
    units_assumed: int = 0
    cost_micros: int | None = 0
    uncosted: int = 0
    unpriced: int = 0
    revenue_micros: dict[str, int] = msgspec.field(default_factory=dict)
    margin_micros: int | None = None


class Margins(msgspec.Struct, frozen=True, kw_only=True):
    """By model, in all, and what of the cost nobody paid for."""

    models: tuple[Margin, ...]
    total: Margin
    ours: tuple[OwnCost, ...]


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt was billed. `units` is null where the provider did not say."""

    attempt_id: str
    units: Decimal | None


class Accounting:
    """Sums of all generations that it was given."""

    def __init__(self, document: Document) -> None:
        self._rules: Mapping[str, BookRule] = {
            entry.model: entry.price for entry in document.models
        }
        self._margins: dict[str, Margin] = {}
        self._ours: dict[tuple[Ours, str], OwnCost] = {}

    def add(self, made: Made) -> None:
        """Count one generation."""
        model = made.requested.model
        margin = self._margins.get(model)
        if margin is None:
            rule = self._rules.get(model)
            known = rule is not None and rule.unit_cost_micros is not None
            margin = self._margins[model] = Margin(model=model, cost_micros=0 if known else None)
        margin.generations += 1
        _add_revenue(margin, made)
        self._add_cost(margin, made)
        self._add_own(made)

    def margins(self) -> Margins:
        """All sums, the models by name."""
        models = [self._margins[name] for name in sorted(self._margins)]
        for margin in models:
            margin.margin_micros = _margin_of(margin)
        return Margins(
            models=tuple(models),
            total=_total_of(models),
            ours=tuple(self._ours[key] for key in sorted(self._ours)),
        )

    def _add_cost(self, margin: Margin, made: Made) -> None:
        for bill in _bills(made):
            units = _assumed(made) if bill.units is None else bill.units
            margin.units = (margin.units or 0) + units
            margin.units_assumed += bill.units is None
            cost = self._cost(made, units)
            if margin.cost_micros is None or cost is None:
                margin.uncosted += units > 0
            else:
                margin.cost_micros += cost

    def _add_own(self, made: Made) -> None:
        model = made.requested.model
        for reason, units in _own(made):
            own = self._ours.setdefault((reason, model), OwnCost(reason=reason, model=model))
            own.generations += 1
            own.units += units or 0
            cost = None if units is None else self._cost(made, units)
            if cost is None or own.cost_micros is None:
                own.cost_micros = None
            else:
                own.cost_micros += cost

    def _cost(self, made: Made, units: Decimal) -> int | None:
        """What so many units cost. A flat price has one unit, whatever the provider counts."""
        rule = self._rules.get(made.requested.model)
        if rule is None or rule.unit_cost_micros is None:
            return None
        quantity = Decimal(units > 0) if rule.type is PriceType.FLAT else units
        return int((quantity * rule.unit_cost_micros).to_integral_value(ROUND_HALF_UP))


async def account_for(
    connection: Connection, document: Document, since: datetime | None = None
) -> Margins:
    """The sums of all generations that were asked for at or after `since`, in one snapshot."""
    accounting, after = Accounting(document), ""
    async with snapshot(connection):
        while orders := await read_orders(connection, after, since, ORDERS_PER_READ):
            after = orders[-1].generation_id
            for made in await read_made(connection, orders):
                accounting.add(made)
    return accounting.margins()


def units_of(text: str | None) -> Decimal | None:
    """Billable units as a number; None for what is none: the provider's text is taken as it is."""
    return Decimal(text) if text is not None and _UNITS.fullmatch(text) else None


def _add_revenue(margin: Margin, made: Made) -> None:
    debit = made.debit
    if debit is None:
        return
    margin.charged += debit.amount
    margin.refunded += debit.refunded
    margin.unpriced += debit.on_credit - debit.credit_refunded
    pieces = zip(debit.slices, debit.slices_refunded, made.costs, strict=True)
    for piece, given_back, cost in pieces:
        kept = piece.amount - given_back
        if cost.unit_cost_micros is None:
            margin.unpriced += kept
        elif earned := kept * cost.unit_cost_micros:  # what was given away has no currency
            currency = cost.currency or NO_CURRENCY
            margin.revenue_micros[currency] = margin.revenue_micros.get(currency, 0) + earned


def _bills(made: Made) -> Iterator[Bill]:
    """What the provider bills, by attempt: successes, late ones, and failures with units."""
    late = {f.attempt_id: f.billable_units for f in made.late_facts if f.fact == "succeeded"}
    for attempt_id, text in late.items():
        yield Bill(attempt_id=attempt_id, units=units_of(text))
    ending = made.ending
    if ending is None or ending.attempt_id is None or ending.attempt_id in late:
        return
    units = units_of(ending.billable_units)
    if isinstance(ending, GenerationSucceeded) or units:
        yield Bill(attempt_id=ending.attempt_id, units=units)


def _own(made: Made) -> Iterator[tuple[Ours, Decimal | None]]:
    """Why of it the cost is ours, with the units if they are known."""
    late = {f.attempt_id for f in made.late_facts if f.fact == "succeeded"}
    bills = {bill.attempt_id: bill.units for bill in _bills(made)}
    for attempt_id in late:
        units = bills[attempt_id]
        yield Ours.LATE_SUCCESS, _assumed(made) if units is None else units
    ending = made.ending
    ended_id = ending.attempt_id if ending else None
    for fact in made.late_facts:
        if fact.fact == "submitted" and fact.attempt_id not in {*late, ended_id}:
            yield Ours.LATE_SUBMIT, None
    if ended_id is None or ended_id in late or not isinstance(ending, GenerationEnded):
        return
    if ended_id in bills:
        yield Ours.BILLED_FAILURE, bills[ended_id]
    elif isinstance(ending, GenerationExpired) and units_of(ending.billable_units) is None:
        yield Ours.EXPIRED_OPEN, None


def _assumed(made: Made) -> Decimal:
    """The units that were sold."""
    line = made.requested.price_line
    return Decimal(line.quantity if line else 1)


def _margin_of(margin: Margin) -> int | None:
    if margin.cost_micros is None or len(margin.revenue_micros) > 1:
        return None
    return sum(margin.revenue_micros.values()) - margin.cost_micros


def _total_of(models: Iterable[Margin]) -> Margin:
    # Seconds and images make no sum.
    total, revenue = Margin(model=TOTAL, units=None), Counter[str]()
    for margin in models:
        total.generations += margin.generations
        total.charged += margin.charged
        total.refunded += margin.refunded
        total.units_assumed += margin.units_assumed
        total.uncosted += margin.uncosted
        total.unpriced += margin.unpriced
        total.cost_micros = (total.cost_micros or 0) + (margin.cost_micros or 0)
        revenue.update(margin.revenue_micros)
    total.revenue_micros = dict(sorted(revenue.items()))
    if len(total.revenue_micros) <= 1:
        total.margin_micros = sum(margin.margin_micros or 0 for margin in models)
    return total
