"""The doorbell: a Dramatiq message with a generation's id, best effort.

Losing one costs latency only, because workers also pull what is due. So nobody waits for it:
a thread of its own talks to Valkey, and rings that do not fit its queue are dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Final

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from contracts.jobs import DOORBELL_ACTOR, DOORBELL_QUEUE

RINGS_WAITING_MAX: Final = 1_000
BACKLOG_MAX: Final = 1_000
"""Messages in Valkey beyond which more rings would only make the queue longer."""
_SOCKET_TIMEOUT_SECONDS: Final = 2
_UNKNOWN_BACKLOG: Final = BACKLOG_MAX

_log = logging.getLogger(__name__)


class Doorbell:
    """Rings workers; every method returns at once."""

    def __init__(self, valkey_url: str) -> None:
        # Redelivery of an enqueue whose reply got lost would run a job twice at a time.
        client = redis.Redis.from_url(
            valkey_url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=_SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=_SOCKET_TIMEOUT_SECONDS,
        )
        self._client = client
        self._broker = RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]
        self._broker.declare_queue(DOORBELL_QUEUE)
        self._waiting: queue.Queue[str | None] = queue.Queue(RINGS_WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._is_answering = True

    def start(self) -> None:
        """Begin to ring."""
        self._thread.start()

    def stop(self) -> None:
        """Ring what waits, then end."""
        self._waiting.put(None)
        self._thread.join(2 * _SOCKET_TIMEOUT_SECONDS)

    def ring(self, generation_id: str) -> None:
        """Tell a worker that this generation is due."""
        try:
            self._waiting.put_nowait(generation_id)
        except queue.Full:
            _log.debug("a ring was dropped")

    def backlog(self) -> int:
        """Messages that no worker has fetched yet; as good as full when Valkey is silent.

        Blocks for a socket's timeout at most: not for an event loop.
        """
        try:
            return int(self._client.llen(f"{self._broker.namespace}:{DOORBELL_QUEUE}"))
        except redis.RedisError:
            return _UNKNOWN_BACKLOG

    def _run(self) -> None:
        while (generation_id := self._waiting.get()) is not None:
            message: dramatiq.Message[None] = dramatiq.Message(
                queue_name=DOORBELL_QUEUE,
                actor_name=DOORBELL_ACTOR,
                args=(generation_id,),
                kwargs={},
                options={},
            )
            try:
                self._broker.enqueue(message)
            except (dramatiq.errors.ConnectionError, redis.RedisError) as error:
                self._note(f"Valkey does not answer: {type(error).__name__}")
            else:
                self._note(None)

    def _note(self, trouble: str | None) -> None:
        """Say once that Valkey went away, and once that it is back."""
        is_answering = trouble is None
        if is_answering != self._is_answering:
            _log.warning(trouble or "Valkey answers again")
        self._is_answering = is_answering
