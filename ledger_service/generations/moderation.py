"""Whether an operator's endpoint lets an order pass, asked before anything is charged.

A hook that is slow, away or talks nonsense decides nothing: the operator's policy does. It cannot
hold the ledger up either: few orders are with it at a time, few wait for their turn, and after some
failures in a row nobody asks for a while.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from typing import Final

import msgspec

from contracts.moderation import Inquiry, Ruling
from contracts.problems import ProblemCode
from ledger_service.errors import Rejected, Unavailable
from ledger_service.generations.moderation_client import ASKED_AT_ONCE_MAX, ModerationClient

VERDICT_SECONDS: Final = 2.0
"""From an order's arrival here to the end of the hook's answer, the wait for a turn included."""
WAITING_MAX: Final = 256
"""Orders that may be here at a time, those that the hook has included."""
FAILURES_MAX: Final = 8
"""After so many failures in a row nobody asks for `PAUSE_SECONDS`, and again after each further
one, until an answer comes."""
PAUSE_SECONDS: Final = 2.0

_CODE: Final = re.compile(r"[a-z0-9_.\-]{1,64}")
_RULING: Final = msgspec.json.Decoder(Ruling)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_log = logging.getLogger(__name__)


class Moderator:
    """One hook. `refuses_on_failure`: without its ruling an order is refused, else accepted."""

    def __init__(self, client: ModerationClient, *, refuses_on_failure: bool) -> None:
        self._client = client
        self._refuses_on_failure = refuses_on_failure
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE_MAX)
        self._present = 0
        self._failures = 0
        self._pauses_until = -math.inf

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._client.close()

    async def judge(self, inquiry: Inquiry) -> None:
        """Nothing, if the order may pass. Raises `Rejected`: `content_refused`, with the hook's
        `reason`, or `moderation_unavailable`."""
        try:
            ruling = await self._ruling(inquiry)
        except Unavailable:
            if self._refuses_on_failure:
                raise Rejected(ProblemCode.MODERATION_UNAVAILABLE) from None
            return
        if not ruling.allow:
            raise Rejected(ProblemCode.CONTENT_REFUSED, reason=_code_in(ruling))

    async def _ruling(self, inquiry: Inquiry) -> Ruling:
        if self._present >= WAITING_MAX:
            raise Unavailable("crowded")
        ends_at = asyncio.get_running_loop().time() + VERDICT_SECONDS
        self._present += 1
        try:
            async with asyncio.timeout_at(ends_at):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable("no turn") from None
        else:
            try:
                return await self._asked(msgspec.json.encode(inquiry), ends_at)
            finally:
                self._turns.release()
        finally:
            self._present -= 1

    async def _asked(self, inquiry: bytes, ends_at: float) -> Ruling:
        loop = asyncio.get_running_loop()
        if loop.time() < self._pauses_until:
            raise Unavailable("pausing")
        try:
            async with asyncio.timeout_at(ends_at):
                ruling = _RULING.decode(await self._client.ask(inquiry))
        except (Unavailable, TimeoutError, *_UNREADABLE) as error:
            _log.warning("the moderation hook gives no ruling: %r", error)
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._pauses_until = loop.time() + PAUSE_SECONDS
            raise Unavailable("no ruling") from None
        self._failures = 0
        return ruling


def _code_in(ruling: Ruling) -> str | None:
    is_code = isinstance(ruling.reason, str) and _CODE.fullmatch(ruling.reason)
    return ruling.reason if is_code else None
