"""`make bench-generations`: whole generations, from the request to the stored file.

The provider answers at once, so that what is measured is ours. Everything shares this machine:
PostgreSQL, Valkey, ledger, clockwork, one worker process, the provider, and who asks.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx
import psycopg

from deploy.run.host import free_port
from tests.benchmarks.measure import cpu_seconds, resident_mib, say
from tests.fixtures.live import Caller
from tests.fixtures.services import Process, Processes, scratch_folder
from tests.fixtures.stack import Stack, eventually

ACCOUNT: Final = "bench"
ASKING: Final = 16
"""Connections that ask for generations."""
PATIENCE_SECONDS: Final = 600.0
_ENDED: Final = """
SELECT count(*) FILTER (WHERE topic = 'generation_succeeded.v1'),
    count(*) FILTER (WHERE topic IN ('generation_failed.v1', 'generation_expired.v1')),
    extract(epoch FROM max(recorded_at) - min(recorded_at))::float8
FROM ledger.events
WHERE log = 'main' AND position > %s AND topic LIKE 'generation%%'
"""

_HELD_BY: Final = """
SELECT count(*) FROM ledger.jobs WHERE lease_until IS NOT NULL AND worker = ANY (%s)
"""


class Bench:
    """The whole ledger with an instant provider."""

    def __init__(self, stack: Stack, provider_url: str) -> None:
        self.stack = stack
        self.provider_url = provider_url
        self.caller = Caller(stack.env["LEDGER_URL"], stack.env["LEDGER_API_KEY"])
        self.caller.grant(ACCOUNT, 10**9)

    def query(self, sql: str, *values: Any) -> tuple[Any, ...]:
        """One row."""
        with psycopg.connect(self.stack.env["DATABASE_URL"]) as connection:
            row = connection.execute(sql.encode(), values).fetchone()
        assert row is not None
        return tuple(row)

    def position(self) -> int:
        """Where the log is."""
        return int(self.query("SELECT last FROM ledger.logs WHERE log = 'main'")[0])

    def seen(self) -> Any:
        """What the provider has seen."""
        return httpx.get(f"{self.provider_url}/posts", trust_env=False).json()

    def order(self, count: int, pause_seconds: float = 0.0) -> None:
        """Ask for so many."""
        asyncio.run(self._order(count, pause_seconds))

    async def _order(self, count: int, pause_seconds: float) -> None:
        numbers = iter(range(count))
        mark = time.monotonic_ns()
        headers = {"Authorization": f"Bearer {self.stack.env['LEDGER_API_KEY']}"}
        body = {"account_id": ACCOUNT, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
        url = f"{self.stack.env['LEDGER_URL']}/v1/generations"

        async def ask(session: aiohttp.ClientSession) -> None:
            for number in numbers:
                key = {"Idempotency-Key": f"{mark}-{number}"}
                async with session.post(url, json=body, headers=key) as answer:
                    assert answer.status == 202, await answer.text()
                await asyncio.sleep(pause_seconds)

        async with aiohttp.ClientSession(headers=headers) as session:
            await asyncio.gather(*[ask(session) for _ in range(1 if pause_seconds else ASKING)])

    def wait(self, after: int, count: int) -> float:
        """Until so many have ended well; returns the seconds from the first event to the last."""
        seconds = 0.0

        def have_ended() -> bool:
            nonlocal seconds
            good, bad, seconds = self.query(_ENDED, after)
            assert bad == 0, f"{bad} ended badly"
            return bool(good == count)

        eventually(have_ended, f"{count} generations", PATIENCE_SECONDS)
        return seconds

    def workers(self) -> list[int]:
        """Pids of the worker's processes."""
        group = self.stack.worker.pid
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except OSError:
                continue
            if int(text.rpartition(")")[2].split()[2]) == group:
                found.append(int(text.split(" ", 1)[0]))
        return found

    def warm_up(self) -> None:
        """Whoever is asked for the first time connects, compiles and caches."""
        self.order(50)
        self.wait(0, 50)

    def rate(self, count: int) -> None:
        """Generations per second from request to stored file, and what each of them costs."""
        say(f"{count} generations, as fast as they go")
        after, calls = self.position(), self.seen()["calls"]
        parts = {"ledger": [self.stack.ledger.pid], "worker": self.workers()}
        before = {name: sum(map(cpu_seconds, pids)) for name, pids in parts.items()}
        self.order(count)
        seconds = self.wait(after, count)
        print(f"{'generations end to end':44}{count / seconds:10.1f} /s   (goal ≥ 100)")
        for name, pids in parts.items():
            used = (sum(map(cpu_seconds, pids)) - before[name]) / count * 1000
            print(f"{f'processor time of the {name}':44}{used:10.2f} ms each")
        (claims,) = self.query("SELECT avg(fence)::float8 FROM ledger.jobs")
        print(f"{'claims of an instant one (calls: one more)':44}{claims:10.2f}   (goal ≤ 3)")
        made = self.seen()["calls"]
        each = sum(made[kind] - calls.get(kind, 0) for kind in made) / count
        print(f"{'requests to the provider, media included':44}{each:10.2f} each")

    def latency(self, count: int) -> None:
        """From the request's acceptance to its POST at the provider, when nothing else is on."""
        say(f"{count} generations, one after the other")
        after = self.position()
        self.order(count, pause_seconds=0.25)
        self.wait(after, count)
        posts = self.seen()["posts"]
        with psycopg.connect(self.stack.env["DATABASE_URL"]) as connection:
            rows = connection.execute(
                b"SELECT split_part(stream, '/', 3), extract(epoch FROM recorded_at)::float8"
                b" FROM ledger.events WHERE log = 'main' AND position > %s"
                b" AND topic = 'generation_requested.v1'",
                (after,),
            ).fetchall()
        waits = sorted(1000 * (posts[generation_id] - at) for generation_id, at in rows)
        p50, p99 = statistics.median(waits), waits[int(len(waits) * 0.99)]
        print(f"{'accepted → POST at the provider, p50':44}{p50:10.0f} ms  (goal ≤ 300)")
        print(f"{'accepted → POST at the provider, p99':44}{p99:10.0f} ms  (goal ≤ 1,000)")

    def recovery(self, count: int) -> None:
        """SIGKILL amid work; the worker is started again at once, as the launcher does it.

        A submit that was claimed and maybe sent is looked for at the provider, and sent anew only
        when it can no longer arrive: that bound, and not the recovery, is what the last ones wait
        for.
        """
        say(f"{count} generations, and the worker is killed")
        after = self.position()
        self.order(count)
        dead = [f"{socket.gethostname()}:{pid}" for pid in self.workers()]
        self.stack.worker.kill()
        killed_at = time.monotonic()
        self.stack.worker.start()

        def are_taken_over() -> bool:
            return self.query(_HELD_BY, dead) == (0,)

        eventually(are_taken_over, "what the dead one held is taken over", PATIENCE_SECONDS)
        seconds = time.monotonic() - killed_at
        print(f"{'SIGKILL of the worker → all taken over':44}{seconds:10.1f} s   (goal ≤ 10)")
        self.wait(after, count)
        seconds = time.monotonic() - killed_at
        print(f"{f'SIGKILL of the worker → {count} ended':44}{seconds:10.1f} s")

    def in_flight(self, count: int) -> None:
        """Many that run for long: the worker holds none of them."""
        after = self.position()
        known: dict[int, float] = {}
        for target in (count // 10, count):
            say(f"{target} generations in flight")
            self.order(target - sum(known))
            eventually(
                lambda target=target: self._submitted(after) >= target,
                "all are submitted",
                PATIENCE_SECONDS,
            )
            known[target] = max(map(resident_mib, self.workers()))
            what = f"memory of the worker with {target:,} in flight"
            print(f"{what:44}{known[target]:10.1f} MiB")
        httpx.post(f"{self.provider_url}/release", trust_env=False)
        started = time.monotonic()
        self.wait(after, count)
        print(f"{'all of them ended within':44}{time.monotonic() - started:10.1f} s")

    def _submitted(self, after: int) -> int:
        (count,) = self.query(
            "SELECT count(*) FROM ledger.events WHERE log = 'main' AND position > %s"
            " AND topic = 'generation_submitted.v1'",
            after,
        )
        return int(count)


@contextmanager
def running(folder: Path, **env: str) -> Iterator[Bench]:
    """The stack over an instant provider."""
    with ExitStack() as stack:
        processes = Processes(folder)
        stack.callback(processes.end_all)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        start_provider(processes, port, env)
        whole = Stack(folder)
        stack.callback(whole.close)
        told = {
            "FAL_QUEUE_URL": url,
            "FAL_API_URL": f"{url}/v1",
            "FAL_MEDIA_HOSTS": f"127.0.0.1:{port}",
        }
        stack.enter_context(whole.told(whole.ledger, GENERATION_DEADLINE_SECONDS="3600"))
        stack.enter_context(whole.told(whole.worker, **told))
        yield Bench(whole, url)


def start_provider(processes: Processes, port: int, env: dict[str, str]) -> Process:
    """A server of its own."""
    return processes.start(
        "uvicorn",
        "tests.benchmarks.instant_fal:app",
        *("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
        env=env,
        name="instant-fal",
        ready=lambda: _listens(port),
    )


def _listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/posts", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-generations", description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="generations for the rate")
    parser.add_argument("--in-flight", type=int, default=10_000, help="0: leave this part out")
    options = parser.parse_args()
    with scratch_folder() as folder:
        (folder / "fast").mkdir()
        with running(folder / "fast") as bench:
            bench.warm_up()
            bench.latency(120)
            bench.rate(options.count)
            bench.recovery(50)
        if options.in_flight:
            (folder / "held").mkdir()
            with running(folder / "held", HOLD="1") as bench:
                bench.in_flight(options.in_flight)
    return 0


if __name__ == "__main__":
    sys.exit(main())
