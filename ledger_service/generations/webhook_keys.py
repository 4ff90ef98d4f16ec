"""The provider's public keys: fetched when first needed, kept for a day, asked for again when a
signature comes that none of them verifies.

Never one fetch per webhook: how often a caller can make us fetch is bounded, however many come.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ledger_service.errors import Unavailable
from ledger_service.generations.webhook_signatures import Keys, read_keys

FRESH_SECONDS: Final = 12 * 3_600.0
"""Until this age keys are used without a question; older ones are fetched anew."""
KEPT_SECONDS: Final = 24 * 3_600.0
"""Until this age keys are used while newer ones cannot be had."""
RETRY_SECONDS: Final = 5.0
"""Pause after a fetch that failed."""
RENEWAL_PAUSE_SECONDS: Final = 60.0
"""Pause between two fetches for signatures that no key verifies: forged ones would cause many."""

_NEVER: Final = -math.inf
_log = logging.getLogger(__name__)


class ProviderKeys:
    """One provider's keys. `fetch` gives the key set's document, or raises `Unavailable`."""

    def __init__(
        self, fetch: Callable[[], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys = ()
        self._fetched_at = self._renewed_at = _NEVER
        self._failed_at = _NEVER  # when the last fetch failed; never, if it did not
        self._turn = asyncio.Lock()

    async def known(self) -> Keys:
        """The keys, at most a day old. Raises `Unavailable` when they cannot be had."""
        if self._since(self._fetched_at) < FRESH_SECONDS:
            return self._keys
        async with self._turn:
            is_old = self._since(self._fetched_at) >= FRESH_SECONDS
            if is_old and self._since(self._failed_at) >= RETRY_SECONDS:
                await self._try_to_fetch()
            if self._since(self._fetched_at) < KEPT_SECONDS:
                return self._keys
            raise _unavailable(RETRY_SECONDS - self._since(self._failed_at))

    async def renewed(self, known: Keys) -> Keys:
        """The keys after a signature that none of `known` verifies: its key may be a new one.

        The same keys again when they were asked for within the last minute. Raises `Unavailable`
        when the last fetch failed: then nobody can tell a new key's signature from a forged one.
        """
        async with self._turn:
            if self._keys is not known:
                return self._keys  # somebody else has just asked
            if self._since(self._renewed_at) >= RENEWAL_PAUSE_SECONDS:
                self._renewed_at = self._clock()
                await self._try_to_fetch()
            if self._failed_at != _NEVER:
                raise _unavailable(RENEWAL_PAUSE_SECONDS - self._since(self._renewed_at))
            return self._keys

    def _since(self, moment: float) -> float:
        return self._clock() - moment

    async def _try_to_fetch(self) -> None:
        try:
            self._keys = read_keys(await self._fetch())
        except (Unavailable, ValueError) as error:
            _log.warning("the keys of webhooks cannot be had: %s", error)
            self._failed_at = self._clock()
        else:
            self._fetched_at, self._failed_at = self._clock(), _NEVER


def _unavailable(pause_seconds: float) -> Unavailable:
    return Unavailable("no keys", retry_after_seconds=max(1, math.ceil(pause_seconds)))
