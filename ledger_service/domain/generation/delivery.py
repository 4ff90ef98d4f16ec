"""What was delivered, beside what was paid for."""

from __future__ import annotations

from contracts.api.prices import PriceLine, PriceType
from contracts.jobs import SucceededReport
from ledger_service.domain.generation.pricing import total_of
from ledger_service.domain.generation.state import GenerationState


def undelivered(state: GenerationState, report: SucceededReport) -> int:
    """Credits that were paid for images or seconds that did not come."""
    line = state.price_line
    if line is None:
        return 0
    delivered = min(_delivered(line, report), line.quantity)
    return min(line.total, state.price) - min(total_of(line, delivered), state.price)


def _delivered(line: PriceLine, report: SucceededReport) -> int:
    if line.type is PriceType.PER_IMAGE:
        return 1 + len(report.more)
    seconds = report.asset.duration_seconds
    if line.type is PriceType.PER_SECOND and seconds is not None:
        return round(seconds)  # films end with a frame, and not with a second
    return line.quantity
