"""Carry a generation: claim → one step → report → the claim that the reply brings, and so on.

Both ways in, the doorbell and the pull, end here. A claim is never given back: one that is
dropped runs out by itself, and whoever claims next goes on from what was reported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from contracts.client import LedgerRejected, LedgerUnavailable
from contracts.jobs import (
    Claim,
    RenewReport,
    ReportEvent,
    ReportReply,
    ReportRequest,
    RunningReport,
    Step,
)
from contracts.limits import LEASE_SECONDS
from job_worker.sharing import Desk

log: Final = logging.getLogger(__name__)

RENEW_SECONDS: Final = LEASE_SECONDS * 3 / 8
"""Two renewals may fail before a lease runs out."""
STEPS_MAX: Final = 16
"""Steps in a row for one bell; an instant job takes three."""
CARRY_SECONDS_MAX: Final = 180.0
"""All steps of one bell together; above the longest step, a copy of 120 s."""
PATIENCE_SECONDS: Final = 30.0
"""How long a fact is offered to a ledger that does not answer. Then the lease is long gone, and
the next claim finds the fact out anew."""
LOOK_PATIENCE_SECONDS: Final = LEASE_SECONDS / 2
"""The same for what any look would find: as long as the lease is worth something."""
PATIENCE_PAUSE_SECONDS: Final = 1.0


class Held(msgspec.Struct, frozen=True):
    """A claim, and the monotonic time (seconds) just before it was asked for."""

    claim: Claim
    asked_at: float


PerformStep = Callable[[Held], Awaitable[ReportEvent]]


class Carrier:
    """Carries claims of one process; `perform` does a claim's step and always has a report."""

    def __init__(self, ledger: Desk, perform: PerformStep) -> None:
        self._ledger = ledger
        self._perform = perform

    async def answer_bell(self, generation_id: str) -> None:
        """Carry the generation that was rung for, if it is due and nobody else has it."""
        asked_at = time.monotonic()
        try:
            claims = await self._ledger.claim(generation_id)
        except LedgerRejected as error:
            # not_due is the normal answer to a bell that rang twice.
            log.debug("bell of %s: %s", generation_id, error.code)
            return
        except LedgerUnavailable as error:
            log.warning("bell of %s: ledger unavailable (%s)", generation_id, error.reason)
            return
        for claim in claims:
            await self.carry(Held(claim, asked_at))

    async def claim_due(self, most: int) -> list[Held]:
        """Claim up to `most` generations that are due. Raises the client's errors."""
        asked_at = time.monotonic()
        return [Held(claim, asked_at) for claim in await self._ledger.claim_due(most)]

    async def carry(self, held: Held | None) -> None:
        """Perform the claim's step, report it, and go on with the next claim while there is one."""
        try:
            async with asyncio.timeout(CARRY_SECONDS_MAX):
                for _ in range(STEPS_MAX):
                    held = await self._advance(held) if held is not None else None
        except TimeoutError:
            log.error("gave up a generation after %.0f s", CARRY_SECONDS_MAX)

    async def _advance(self, held: Held) -> Held | None:
        claim = held.claim
        event = await self._perform_under_lease(held)
        if event is None:
            return None
        _log_step(claim, event)
        asked_at = time.monotonic()
        try:
            reply = await self._report(claim, event)
        except LedgerRejected as error:
            level = logging.INFO if error.code == "stale_fence" else logging.ERROR
            log.log(level, "report of %s refused: %s", claim.generation_id, error.code)
            return None
        except LedgerUnavailable as error:
            log.warning("report of %s not taken: %s", claim.generation_id, error.reason)
            return None
        return None if reply.next_claim is None else Held(reply.next_claim, asked_at)

    async def _perform_under_lease(self, held: Held) -> ReportEvent | None:
        """The step's report, or None when the lease was lost meanwhile."""
        step = asyncio.ensure_future(self._perform(held))
        keeper = asyncio.create_task(self._keep_lease(held.claim))
        try:
            await asyncio.wait({step, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if held.claim.step is Step.SUBMIT:
                # A POST on its way cannot be called back; its answer is worth having even late,
                # for it alone tells under which id the job runs.
                await step
            return step.result() if step.done() else None
        finally:
            for task in (step, keeper):
                task.cancel()
            await asyncio.gather(step, keeper, return_exceptions=True)

    async def _keep_lease(self, claim: Claim) -> None:
        """Renew the lease until cancelled; returns when the claim is no longer ours."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                reply = await self._ledger.report(
                    claim.generation_id, _request(claim, RenewReport())
                )
            except LedgerRejected as error:
                log.info("lost the lease of %s: %s", claim.generation_id, error.code)
                return
            except LedgerUnavailable as error:
                log.warning("cannot renew %s: %s", claim.generation_id, error.reason)
            else:
                if not reply.accepted:
                    log.info("%s has ended meanwhile", claim.generation_id)
                    return

    async def _report(self, claim: Claim, event: ReportEvent) -> ReportReply:
        """Report; a fact that nobody else knows is offered for longer than what the next look would
        find out as well."""
        is_fact = not isinstance(event, RunningReport)
        patient_until = time.monotonic() + (PATIENCE_SECONDS if is_fact else LOOK_PATIENCE_SECONDS)
        while True:
            try:
                return await self._ledger.report(claim.generation_id, _request(claim, event))
            except LedgerUnavailable:
                if time.monotonic() > patient_until:
                    raise
                await asyncio.sleep(PATIENCE_PAUSE_SECONDS)


def _request(claim: Claim, event: ReportEvent) -> ReportRequest:
    return ReportRequest(fence=claim.fence, attempt_id=claim.attempt.attempt_id, event=event)


def _log_step(claim: Claim, event: ReportEvent) -> None:
    """One line for each step: ids and outcomes, never an input or a URL."""
    outcome = event.__struct_config__.tag
    why = getattr(event, "reason", None) or getattr(event, "error", None) or ""
    log.info("%s attempt %d %s: %s %s", claim.generation_id, claim.attempt.number,
             claim.step, outcome, why)  # fmt: skip
