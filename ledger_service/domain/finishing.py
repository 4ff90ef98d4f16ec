"""The end of every decision: what came to merged accounts moves on, balances are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger_service.domain.account.moving import pass_on
from ledger_service.domain.account.watching import watch_balances
from ledger_service.domain.draft import Draft
from ledger_service.domain.world import Decision, Need

Complete = Callable[[], dict[str, Any]]


def finish(
    draft: Draft,
    *,
    http_status: int = 200,
    result: Any = None,
    shows: str | None = None,
    complete: Complete | None = None,
) -> Decision | Need:
    """The decision, or what must be loaded before it can be made.

    An unkeyed command tells its caller `result`, or the account that it `shows` as it is in the
    end. `complete` makes those fields of the answering event that tell of the command's end.
    """
    for owner in draft.touched():
        state = draft.account(owner)
        if state is not None and state.merged_into is not None and (need := pass_on(draft)):
            return need
    watch_balances(draft)
    return draft.decision(
        http_status=http_status,
        result=draft.account(shows) if shows else result,
        completed=complete() if complete else {},
    )
