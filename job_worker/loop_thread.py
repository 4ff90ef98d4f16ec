"""One event loop in one thread, for everything that waits.

All I/O of a worker process runs on it: steps wait for the network nearly all of their time, a
lease must be renewed while a copy streams, and the pull must go on whatever the queue does. The
queue's own threads only hand a bell over and wait until there is a place for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import uvloop

log: Final = logging.getLogger(__name__)
Value = TypeVar("Value")

JOIN_SECONDS: Final = 2.0


class LoopThread:
    """A running event loop. If it ever ended by itself, the process would end as well."""

    def __init__(self, name: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._stopping = False
        # A daemon: it must not keep a process alive that wants to end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Value]) -> concurrent.futures.Future[Value]:
        """Run a coroutine on the loop; to be called from any other thread."""
        assert threading.current_thread() is not self._thread
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """End the loop; whatever still runs on it is abandoned."""
        self._stopping = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            if not self._stopping:
                log.critical("the event loop ended; so does this process")
                os.kill(os.getpid(), signal.SIGTERM)
