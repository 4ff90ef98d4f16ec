"""The emulator that the provider's words are held against: a process of this run's own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.check_fal.budget import Budget
from deploy.check_fal.ear import Ear
from deploy.check_fal.site import Site
from deploy.run.child import open_log, spawn, stop, tail, wait_until
from deploy.run.plan import python_command

START_SECONDS: Final = 60.0
JOB_SECONDS: Final = 2.0
"""Long enough for somebody who looks at once to see a job under way."""
RESULT_SECONDS: Final = 30.0
CONCURRENCY: Final = 2
"""What fal gives a new account."""
KEY: Final = "check-fal:emulator"
REFUSED: Final = "[[fal:422]]"
_SHORT_LIVED: Final = "[[fal:slow=0]][[fal:big-result]]"


@contextmanager
def emulator(endpoint: str, ear: Ear) -> Iterator[Site]:
    """An emulator as a new account meets it, with a request that has expired already."""
    with tempfile.TemporaryDirectory() as folder, _serving(Path(folder)) as url:
        site = Site(
            queue_url=url,
            api_url=f"{url}/v1",
            jwks_url=f"{url}/.well-known/jwks.json",
            key=KEY,
            endpoint=endpoint,
            budget=Budget(max_usd=1.0, usd_per_job=0.0),
            old_request=_expired_request(url, endpoint),
            refused_prompt=REFUSED,
            ear=ear,
        )
        try:
            yield site
        finally:
            site.close()


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    ready, log = folder / "ready", folder / "log"
    arguments = (
        *("--state-dir", str(folder / "state"), "--ready-file", str(ready), "--key", KEY),
        *("--job-seconds", str(JOB_SECONDS), "--result-seconds", str(RESULT_SECONDS)),
        *("--concurrency", str(CONCURRENCY), "--allow-loopback-webhooks"),
    )
    command = python_command("fal", "deploy.emulators.fal", *arguments, env={})
    descriptor = open_log(log)
    process = spawn(command, descriptor)
    os.close(descriptor)  # the child has its own
    try:
        wait_until(
            lambda: ready.exists() or process.poll() is not None, START_SECONDS, "the emulator"
        )
        if not ready.exists():
            raise RuntimeError(f"the emulator does not start: {tail(log)}")
        yield ready.read_text().strip()
    finally:
        stop(process, command)


def _expired_request(url: str, endpoint: str) -> str:
    """Submit one with a large result, whose time is short, and wait until that is over."""
    given: dict[str, Any] = {"prompt": _SHORT_LIVED}
    with httpx.Client(headers={"Authorization": f"Key {KEY}"}, trust_env=False) as client:
        job = client.post(f"{url}/{endpoint}", json=given).raise_for_status().json()
        deadline = time.monotonic() + RESULT_SECONDS
        while client.get(job["status_url"]).status_code != 404:
            if time.monotonic() > deadline:
                raise RuntimeError("nothing expires at the emulator")
            time.sleep(0.1)
    return str(job["request_id"])
