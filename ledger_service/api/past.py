"""Time travel: what a read says of the point in time that it asks for."""

from __future__ import annotations

from contracts.api.common import Instant
from contracts.problems import ProblemCode
from ledger_service.api.body import fault, in_utc
from ledger_service.api.call import Call
from ledger_service.api.query import PageQuery, Position, ReadQuery
from ledger_service.domain.ids import version_in
from ledger_service.errors import Rejected
from ledger_service.store.past import Moment
from ledger_service.store.reads import LotsView, Reads


class PastQuery(ReadQuery, frozen=True, kw_only=True):
    """`at` or `at_position`: answer as it was at this instant, or after the last whole command at
    or before this position of the log."""

    at: Instant | None = None
    at_position: Position | None = None


class PastPageQuery(PageQuery, frozen=True, kw_only=True):
    """A page of how it was `at` an instant, or `at_position`."""

    at: Instant | None = None
    at_position: Position | None = None


async def moment_of(
    call: Call,
    owner: str,
    query: PastQuery | PastPageQuery,
    missing: ProblemCode = ProblemCode.ACCOUNT_NOT_FOUND,
) -> Moment | None:
    """The point in the account's history that a read asks for; None: now.

    Waits for `min_position` and `at_position`. Raises `Rejected`: `missing` when the account was
    not open then, `validation_failed` for an instant that is still to come.
    """
    await call.at_least(query.min_position)
    past = call.services.reads.past
    if query.at is not None and query.at_position is not None:
        raise fault("?at", "cannot be given together with at_position")
    if query.at_position is not None:
        await call.at_least(query.at_position)
        moment = await past.at_position(owner, query.at_position)
    elif query.at is not None:
        at = in_utc(query.at, "?at")
        assert at is not None
        if at > await past.clock():
            raise fault("?at", "lies in the future")
        moment = await past.at_instant(owner, at)
    else:
        return None
    if moment is None:
        raise Rejected(missing)
    return moment


async def lots_then(
    reads: Reads, owner: str, moment: Moment | None, before: str | None, limit: int
) -> LotsView | None:
    """A page of lots, newest first, now or as they were; None when there is no such account."""
    if moment is None:
        return await reads.lots(owner, before, limit)
    return LotsView(await reads.past.lots(owner, moment, before, limit), moment.now)


async def lot_then(
    reads: Reads, owner: str, grant_id: str, moment: Moment | None = None
) -> LotsView:
    """One lot, now or as it was. Raises `Rejected` when there is none."""
    view = None
    if version_in("grt", grant_id, owner) is not None:
        if moment is None:
            view = await reads.lot(owner, grant_id)
        elif lot := await reads.past.lot(owner, moment, grant_id):
            view = LotsView([lot], moment.now)
    if view is None or not view.lots:
        raise Rejected(ProblemCode.GRANT_NOT_FOUND)
    return view
