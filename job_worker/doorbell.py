"""The broker that the doorbell rings through: Dramatiq on Valkey, with every limit spelled out.

A message is a hint ("look at this generation") and may be lost, repeated or late without harm:
the ledger rings again whatever is due, and the worker pulls besides. So the broker is tuned to
give up early and to hold nothing, where a job queue would hold on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Middleware, Retries, TimeLimit
from redis.backoff import NoBackoff
from redis.retry import Retry

log: Final = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT_SECONDS: Final = 30.0
"""A process silent for longer is dead to the others, who then take over its messages."""
MAINTENANCE_PER_MILLION: Final = 50_000
"""Commands that look for dead processes on the way: 5 %, so every few seconds when idle."""
DEAD_MESSAGE_SECONDS: Final = 3600.0
"""Dead letters are a log of bugs; the state of every job is in the ledger."""
SOCKET_TIMEOUT_SECONDS: Final = 3.0
_GIVING_BACK: Final = frozenset({"ack", "nack", "requeue"})


class DoorbellBroker(RedisBroker):
    """A Redis broker that survives its server's outages without holding on to messages.

    After a failed command nobody knows what the server did: it may have handed out messages in an
    answer that was lost, and as long as this process sends heartbeats under the same name nobody
    would take them over. So after a failure the process goes on **under a new name**; the old one
    falls silent and its messages return to the queue.
    """

    def __init__(self, client: redis.Redis, middleware: list[Middleware]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            middleware=middleware,
            heartbeat_timeout=int(HEARTBEAT_TIMEOUT_SECONDS * 1000),
            maintenance_chance=MAINTENANCE_PER_MILLION,
            dead_message_ttl=int(DEAD_MESSAGE_SECONDS * 1000),
        )
        self._naming = threading.Lock()
        self._in_doubt = False

    def _dispatch(self, command: str) -> Callable[..., Any]:
        dispatch = super()._dispatch(command)  # type: ignore[no-untyped-call]

        def guarded(queue_name: str, *arguments: Any) -> Any:
            self._rename_if_in_doubt()
            try:
                return dispatch(queue_name, *arguments)
            except redis.RedisError as error:
                self._in_doubt = True
                if command in _GIVING_BACK:
                    # The message comes back under the old name and is answered with "not due".
                    # To wait here, as Dramatiq would, only blocks a thread or the shutdown.
                    log.warning("could not %s on %s: %s", command, queue_name, error)
                    return None
                # Dramatiq restarts its consumer after this class alone, not after a timeout.
                raise redis.ConnectionError(str(error)) from error

        return guarded

    def _rename_if_in_doubt(self) -> None:
        with self._naming:
            if self._in_doubt:
                self._in_doubt = False
                self.broker_id = str(uuid4())


def make_broker(valkey_url: str, *more_middleware: Middleware) -> DoorbellBroker:
    """A broker that has not connected yet: it starts, and waits, without its server as well."""
    client = redis.Redis.from_url(
        valkey_url,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
        # A repeated command after a lost answer would be a second message.
        retry=Retry(NoBackoff(), 0),
    )
    # Nothing that keeps state in Valkey (pipelines, groups, results), and no metrics server.
    middleware = [AgeLimit(), TimeLimit(), Retries(max_retries=0), *more_middleware]
    broker = DoorbellBroker(client, middleware)
    dramatiq.set_broker(broker)
    return broker
