"""Calls that may never return, each on a thread of its own.

asyncio's executor has a handful of threads, and whatever hangs in it keeps them from everybody
else. And at the end of a process Python waits for the threads of every executor, shut down or not:
one that hangs would keep the process for ever. Daemon threads are left behind, in whatever call
they are; ending by `os._exit` instead would leave what others still have to do undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


async def in_own_thread(call: Callable[[], Result]) -> Result:
    """What a call returns or raises. Who stops waiting leaves it running: how many there are is
    the caller's to bound."""
    outcome: Future[Result] = Future()
    outcome.set_running_or_notify_cancel()  # from here on nobody can take it back

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # carried to who waits
            outcome.set_exception(error)

    Thread(target=run, name="may-hang", daemon=True).start()
    return await asyncio.wrap_future(outcome)
