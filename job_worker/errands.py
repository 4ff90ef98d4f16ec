"""The daily comparison of ledger, provider and storage: one process of all workers makes it.

The ledger hands a day out under a lease and a fence, like a step: whoever dies over it is followed
by another, and each day has one report. The comparison runs as a command of its own, because it
reads a day of the log: on the event loop it would keep leases from being renewed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from contracts.client import LedgerRejected, LedgerUnavailable, WorkClient
from contracts.problems import ProblemCode
from contracts.reconciling import (
    TROUBLE_MAX_CHARACTERS,
    ReconciliationClaim,
    ReconciliationReportRequest,
    Report,
)
from job_worker.errors import SideUnreadable

log: Final = logging.getLogger(__name__)

ASK_SECONDS: Final = 300.0
FIRST_ASK_SECONDS: Final = 10.0
"""Soon after the start: a day may have been waiting for a worker."""
EXAMPLES: Final = 5
"""Of each kind of drift; whoever needs more runs the command."""
COMPARING_SECONDS_MAX: Final = 3_600.0
UNREADABLE_STATUS: Final = 2
"""The command's exit status when a side could not be read."""

Compare = Callable[[ReconciliationClaim], Awaitable[Report]]


async def compare(claim: ReconciliationClaim) -> Report:
    """Run `reconcile` over a day. Raises `SideUnreadable` with what it said; cancelled, it ends the
    command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "job_worker", "reconcile", "--json"),
        *("--examples", str(EXAMPLES)),
        *("--since", claim.since.isoformat(), "--until", claim.until.isoformat()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMPARING_SECONDS_MAX):
            printed, said = await process.communicate()
    except TimeoutError:
        raise SideUnreadable("ledger", "the comparison took too long") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(printed, type=Report)
    except msgspec.MsgspecError:
        lines = said.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if process.returncode == UNREADABLE_STATUS and lines else "it failed"
        raise SideUnreadable("comparison", reason) from None


class Errands:
    """Asks for a day now and then, and has it compared."""

    def __init__(self, ledger: WorkClient, compare: Compare = compare) -> None:
        self._ledger = ledger
        self._compare = compare

    async def run(self) -> None:
        """Go on until cancelled."""
        seconds = FIRST_ASK_SECONDS
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.0) * seconds)
            seconds = ASK_SECONDS
            try:
                while await self.turn():
                    pass
            except LedgerUnavailable as error:
                log.warning("cannot reconcile: %s", error.reason)
            except LedgerRejected as error:
                log.error("the ledger refuses to have days compared: %s", error.code)
            except Exception:
                log.exception("the daily comparison failed")

    async def turn(self) -> bool:
        """Compare a day if there is one; whether there was. Raises the client's errors."""
        claim = await self._ledger.claim_reconciliation()
        if claim is None:
            return False
        keeper = asyncio.create_task(self._keep_lease(claim))
        try:
            report, trouble = await self._compare(claim), None
        except SideUnreadable as error:
            report, trouble = None, str(error)[:TROUBLE_MAX_CHARACTERS]
            log.warning("%s was not compared: %s", claim.day, trouble)
        finally:
            keeper.cancel()
        await self._report(claim, report, trouble)
        return True

    async def _report(
        self, claim: ReconciliationClaim, report: Report | None, trouble: str | None
    ) -> None:
        try:
            await self._ledger.report_reconciliation(_request(claim, report, trouble))
        except LedgerRejected as error:
            if error.code == ProblemCode.STALE_FENCE:
                # Somebody else has it by now, and reports in our place.
                log.info("the report on %s comes too late", claim.day)
            elif report is None:
                raise
            else:  # too large, say: whoever is told of that can run the command
                refused = f"the ledger refuses the report: {error.code}"
                log.error("%s: %s", claim.day, refused)
                await self._report(claim, None, refused)

    async def _keep_lease(self, claim: ReconciliationClaim) -> None:
        """Renew until cancelled. When that fails another may begin as well: the fence decides."""
        while True:
            await asyncio.sleep(claim.lease_seconds / 3)
            try:
                await self._ledger.report_reconciliation(_request(claim))
            except (LedgerRejected, LedgerUnavailable) as error:
                log.warning("cannot keep %s: %s", claim.day, error)


def _request(
    claim: ReconciliationClaim, report: Report | None = None, trouble: str | None = None
) -> ReconciliationReportRequest:
    return ReconciliationReportRequest(
        day=claim.day, fence=claim.fence, report=report, trouble=trouble
    )
