"""Circuit breakers: while a provider takes nothing of us, nothing is sent to it.

A breaker stands before the submits of one provider, in each process for itself; of a locked
account it hears from its peers as well (`hear`). It is *closed* as
long as submits go well, and *open* for a pause after a refusal of our key or account, or after
troubles in a row. After the pause it is *probing*: one submit goes out, and its answer closes the
breaker or opens it for longer. What is held back meanwhile was certainly not sent, and the ledger
is told so. Polls and fetches pass: what the provider has already, it has.
"""

from __future__ import annotations

import logging
import random
import time
from collections import OrderedDict, deque
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from contracts.jobs import PROVIDER_PAUSED, Claim
from contracts.presence import BreakerState as State
from contracts.presence import Pause, ProviderSeen
from job_worker.errors import ProviderRefusesUs, ProviderRejected, ProviderUnavailable
from job_worker.metrics import Metrics
from job_worker.providers.port import Accepted, Provider, Result, Status

log: Final = logging.getLogger(__name__)

TROUBLES_MAX: Final = 5
"""Troubles in a row that open it. A job meets one by chance, a busy moment or a cut connection;
five without an accepted submit between them are the state that the provider is in."""
TROUBLE_SECONDS: Final = 30.0
"""How long a trouble is remembered: five in an hour are no burst."""
PAUSE_MIN_SECONDS: Final = 2.0
"""The first pause; each further one is twice as long. As the ledger's first wait between attempts:
a hiccup that opens the breaker costs a job no more than a hiccup that does not."""
PAUSE_MAX_SECONDS: Final = 30.0
"""Bounds how late the end of an outage is noticed."""
REFUSAL_PAUSE_MAX_SECONDS: Final = 120.0
"""The same for a key or an account: a person mends those, and probes meanwhile are a nuisance."""
JITTER: Final = 0.25
"""Pauses and waits are longer by up to this share, so that neither processes nor jobs come back
all at once."""
PROBE_WAIT_SECONDS: Final = 2.0
"""How long the others wait for a probe; a submit that is answered at all is answered sooner."""
PEER_WAIT_SECONDS: Final = 5.0
"""How much longer than the peer that found a pause the others wait: it probes, and says what came
of it, before they would have to find out themselves."""
CERTAIN_JOBS: Final = 2
"""Refusals of so many jobs since it closed last are worth telling the peers: those of one may have
been meant for that job alone."""
STEADY_SECONDS: Final = 60.0
STEADY_SUBMITS: Final = 20
"""A breaker that opens again within this time, and before it has let so many accepted submits
pass, goes on with its longer pauses. A provider that took them was well: what follows is news, and
one customer's refused jobs must not hold back everybody for ever longer."""
REFUSALS_MAX: Final = 3
"""A generation that is refused so often while others are accepted is refused for its own sake:
some of fal's refusals of a job look like those of an account."""
REFUSED_REMEMBERED_MAX: Final = 1_000
REFUSED_WAITS: Final = 2.0
"""How many pauses a refused submit waits; above what jitter makes of one."""


class Refused(msgspec.Struct, frozen=True):
    """How often a generation was refused, and how many submits had been accepted by then."""

    times: int
    accepted: int


class Breaker:
    """The breaker of one provider, on one event loop.

    `admit` hands out a turn; what came of the submit is told with it. What was under way when the
    breaker opened has an old turn, and says nothing any more.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = 0
        self._troubles: deque[float] = deque(maxlen=TROUBLES_MAX)
        self._pauses = 0
        self._reason = ""
        self._opened_at = self._open_until = 0.0
        self._closed_at = -STEADY_SECONDS
        self._held_back = 0
        self._is_own = True
        self._accepted = self._accepted_when_closed = 0
        self._refused: OrderedDict[str, Refused] = OrderedDict()
        self._refused_since_closed: set[str] = set()
        self.state = State.CLOSED

    def admit(self) -> int:
        """The turn of a submit that may go out now; raises `ProviderRejected` (not sent, paused)
        with the seconds to wait."""
        now = time.monotonic()
        if self.state is State.OPEN and now >= self._open_until:
            self._turn += 1
            self.state = State.PROBING
            log.info("%s: probing with one submit", self._name)
            return self._turn
        if self.state is State.CLOSED:
            return self._turn
        self._held_back += 1
        raise ProviderRejected(
            PROVIDER_PAUSED,
            sent=False,
            retryable=True,
            retry_after_seconds=self.seconds_left() * random.uniform(1, 1 + JITTER),
        )

    def seconds_left(self) -> float:
        """How long it makes no sense to come back."""
        return max(self._open_until - time.monotonic(), PROBE_WAIT_SECONDS)

    def hear(self, pause: Pause) -> None:
        """A peer has found the provider taking nothing of us: no need to find it out again. It
        changes nothing for who has found out something itself."""
        if self.state is State.CLOSED:
            self._begin_pauses(time.monotonic())
            self._turn += 1
            self._reason, self._is_own, self.state = pause.reason, False, State.OPEN
            log.warning("%s: open, says a peer (%s); submits wait", self._name, pause.reason)
        if self.state is State.OPEN and not self._is_own:
            wait = (pause.seconds_left + PEER_WAIT_SECONDS) * random.uniform(1, 1 + JITTER)
            self._open_until = max(self._open_until, time.monotonic() + wait)

    def seen(self) -> ProviderSeen:
        """Where it stands, for the ledger."""
        if self.state is State.CLOSED:
            return ProviderSeen(name=self._name, state=self.state)
        now = time.monotonic()
        return ProviderSeen(
            name=self._name,
            state=self.state,
            reason=self._reason,
            for_seconds=now - self._opened_at,
            seconds_left=max(self._open_until - now, 0.0),
            held_back=self._held_back,
            is_certain=self._is_own and len(self._refused_since_closed) >= CERTAIN_JOBS,
        )

    def went_well(self, turn: int, generation_id: str, *, accepted: bool) -> None:
        """The provider has judged the job itself: it took it, or refused it on its merits."""
        self._accepted += accepted
        self._refused.pop(generation_id, None)
        if turn != self._turn:
            return
        self._troubles.clear()
        if self.state is State.PROBING:
            self._close()

    def met_trouble(self, turn: int, reason: str, least_seconds: float | None = None) -> None:
        """The provider was busy, broken or silent; it may have said how long to wait."""
        if turn != self._turn:
            return
        now = time.monotonic()
        self._troubles.append(now)
        burst = len(self._troubles) == TROUBLES_MAX and now - self._troubles[0] <= TROUBLE_SECONDS
        if burst or self.state is State.PROBING:
            self._open(reason, PAUSE_MAX_SECONDS, least_seconds)

    def was_refused(self, turn: int, generation_id: str, reason: str) -> bool:
        """The provider refuses us; true when it has become clear that it means this job alone."""
        before = self._refused.get(generation_id, Refused(0, -1))
        if self._accepted > before.accepted:
            self._remember(generation_id, Refused(before.times + 1, self._accepted))
        if self._refused[generation_id].times >= REFUSALS_MAX:
            self.went_well(turn, generation_id, accepted=False)
            return True
        if turn == self._turn:
            if len(self._refused_since_closed) < CERTAIN_JOBS:
                self._refused_since_closed.add(generation_id)
            self._open(reason, REFUSAL_PAUSE_MAX_SECONDS, None, level=logging.CRITICAL)
        return False

    def was_abandoned(self, turn: int) -> None:
        """Nobody waits for the answer any more: another submit may be the probe."""
        if turn == self._turn and self.state is State.PROBING:
            self.state = State.OPEN

    def __str__(self) -> str:
        """Where it stands, for the health line."""
        if self.state is State.CLOSED:
            return f"{self._name} closed"
        since = time.monotonic() - self._opened_at
        return (
            f"{self._name} {self.state} for {since:.0f} s ({self._reason}),"
            f" {self._held_back} submits held back"
        )

    def _open(
        self,
        reason: str,
        pause_max_seconds: float,
        least_seconds: float | None,
        level: int = logging.WARNING,
    ) -> None:
        now = time.monotonic()
        if self.state is State.CLOSED:
            self._begin_pauses(now)
        self._is_own = True
        pause = min(PAUSE_MIN_SECONDS * 2**self._pauses, pause_max_seconds)
        pause = max(pause, min(least_seconds or 0.0, REFUSAL_PAUSE_MAX_SECONDS))
        pause *= random.uniform(1, 1 + JITTER)
        # No further than matters, or the power would grow for as long as an outage lasts.
        self._pauses = min(self._pauses + 1, 10)
        self._turn += 1
        self._troubles.clear()
        self._reason, self._open_until, self.state = reason, now + pause, State.OPEN
        log.log(level, "%s: open for %.0f s (%s); submits wait", self._name, pause, reason)

    def _begin_pauses(self, now: float) -> None:
        self._opened_at, self._held_back = now, 0
        if self._was_steady(now):
            self._pauses = 0

    def _was_steady(self, now: float) -> bool:
        """Since it closed last, submits have gone well for long enough, or often enough."""
        accepted = self._accepted - self._accepted_when_closed
        return now - self._closed_at >= STEADY_SECONDS or accepted >= STEADY_SUBMITS

    def _close(self) -> None:
        self._closed_at = time.monotonic()
        self._accepted_when_closed = self._accepted
        self._refused_since_closed.clear()
        self.state = State.CLOSED
        log.warning(
            "%s: closed after %.0f s; %d submits were held back",
            self._name, self._closed_at - self._opened_at, self._held_back,
        )  # fmt: skip

    def _remember(self, generation_id: str, refused: Refused) -> None:
        self._refused[generation_id] = refused
        if len(self._refused) > REFUSED_REMEMBERED_MAX:
            self._refused.popitem(last=False)


class Guarded:
    """A provider behind its breaker, its calls counted; the port is the same."""

    def __init__(self, name: str, provider: Provider, metrics: Metrics | None = None) -> None:
        self._name = name
        self._provider = provider
        self._metrics = metrics or Metrics()
        self.breaker = Breaker(name)
        self.listing_complete = provider.listing_complete
        self.media_hosts = provider.media_hosts

    async def submit(self, claim: Claim) -> Accepted:
        """POST the job if the breaker lets it through. Raises what the provider raises, and
        `ProviderRejected` (`provider_paused`, not sent) when it is held back."""
        breaker, job = self.breaker, claim.generation_id
        turn = breaker.admit()
        try:
            with self._calling("submit"):
                accepted = await self._provider.submit(claim)
        except ProviderRefusesUs as error:
            if breaker.was_refused(turn, job, error.reason):
                raise ProviderRejected(error.reason, sent=False) from None
            # Later than all that is held back: if it is refused for its own sake, another one
            # must be the probe, or nobody would ever know.
            error.retry_after_seconds = REFUSED_WAITS * breaker.seconds_left()
            raise
        except ProviderRejected as error:
            if error.retryable:
                breaker.met_trouble(turn, error.reason, error.retry_after_seconds)
            else:
                breaker.went_well(turn, job, accepted=False)
            raise
        except ProviderUnavailable as error:
            breaker.met_trouble(turn, error.reason)
            raise
        except BaseException:
            breaker.was_abandoned(turn)
            raise
        breaker.went_well(turn, job, accepted=True)
        return accepted

    async def find(self, claim: Claim) -> str | None:
        """As the provider does."""
        with self._calling("find"):
            return await self._provider.find(claim)

    async def status(self, claim: Claim) -> Status:
        """As the provider does."""
        with self._calling("status"):
            return await self._provider.status(claim)

    async def cancel(self, claim: Claim) -> bool:
        """As the provider does."""
        with self._calling("cancel"):
            return await self._provider.cancel(claim)

    async def result(self, claim: Claim) -> Result:
        """As the provider does."""
        with self._calling("result"):
            return await self._provider.result(claim)

    async def close(self) -> None:
        """Close every connection of the provider."""
        await self._provider.close()

    def _calling(self, operation: str) -> AbstractContextManager[None]:
        return self._metrics.calling(self._name, operation)
