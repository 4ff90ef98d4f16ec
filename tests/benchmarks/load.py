"""A load generator: keep-alive connections, in a process of its own.

`python -m tests.benchmarks.load` reads a `Load` as JSON from standard input and prints `Figures`.

- *closed* (no `rate`): each connection sends its next request after an answer. Good for finding
  the peak; its latencies leave out those who would have come while somebody was kept waiting, so
  they are corrected: a request that took long counts also for those that it kept from being sent.
- *open* (with `rate`): requests have a timetable that no answer can delay, and their latency
  counts from when they should have been sent.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast

import msgspec
import uvloop

TOO_MUCH = 10**12
"""More than any account here has."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, by how many connections, for how long.

    `kind`: `spend`, `balance` or `batch` (of `batch_size` spends). `pick`: which of the accounts
    `bench-0…` a request goes to: `spread` evenly, `zipf` (few get most) or `hot` (one gets all).
    Shares of the spends are refused for want of credits, or repeat an earlier key.
    """

    port: int
    key: str
    kind: str = "spend"
    accounts: int = 200
    pick: str = "spread"
    refused_share: float = 0.0
    replayed_share: float = 0.0
    batch_size: int = 100
    connections: int = 64
    seconds: float = 4.0
    rate: float | None = None
    seed: int = 1


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Answers and good ones (neither 5xx nor cut off) per second, latencies of the good ones in
    milliseconds, answers by status, and commands of all batches by status."""

    rate: float
    good_rate: float
    ms_p50: float
    ms_p99: float
    ms_max: float
    statuses: dict[str, int]
    commands: dict[str, int]
    cpu_seconds: float


class Requests:
    """Makes requests, each with a key of its own unless it repeats one."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._chance = random.Random(f"{load.seed} {number}")
        self._mark = f"{time.monotonic_ns():x}-{number}"
        self._count = 0
        self._sent: list[tuple[str, int, str]] = []
        self._head = (
            f"Host: 127.0.0.1\r\nAuthorization: Bearer {load.key}\r\n"
            "Content-Type: application/json\r\n"
        )
        self._zipf = _zipf_weights(load.accounts) if load.pick == "zipf" else None

    def make(self) -> bytes:
        """The next one."""
        if self._load.kind == "balance":
            return f"GET /v1/accounts/bench-{self._account()} HTTP/1.1\r\n{self._head}\r\n".encode()
        if self._load.kind == "batch":
            return self._batch()
        return self._spend()

    def _spend(self) -> bytes:
        load, chance = self._load, self._chance
        if self._sent and chance.random() < load.replayed_share:
            key, account, body = chance.choice(self._sent)
        else:
            key, account, amount = self._key(), self._account(), 1
            if load.refused_share and chance.random() < load.refused_share:
                amount = TOO_MUCH
            body = f'{{"amount":{amount},"reason":"bench"}}'
            if load.replayed_share and amount == 1:
                self._sent.append((key, account, body))
        return (
            f"POST /v1/accounts/bench-{account}/debits HTTP/1.1\r\n{self._head}"
            f"Content-Length: {len(body)}\r\nIdempotency-Key: {key}\r\n\r\n{body}"
        ).encode()

    def _batch(self) -> bytes:
        commands = [
            {
                "op": "debit",
                "account_id": f"bench-{self._account()}",
                "idempotency_key": self._key(),
                "amount": 1,
                "reason": "bench",
            }
            for _ in range(self._load.batch_size)
        ]
        body = msgspec.json.encode({"commands": commands})
        head = f"POST /v1/batches HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _key(self) -> str:
        self._count += 1
        return f"load-{self._mark}-{self._count}"

    def _account(self) -> int:
        if self._load.pick == "hot":
            return 0
        if self._zipf is not None:
            return self._chance.choices(range(self._load.accounts), cum_weights=self._zipf)[0]
        return self._chance.randrange(self._load.accounts)


def _zipf_weights(count: int) -> list[float]:
    total, sums = 0.0, []
    for rank in range(1, count + 1):
        total += 1 / rank
        sums.append(total)
    return sums


class Results:
    """What all connections have seen."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()


class Connection(asyncio.Protocol):
    """One connection; it has one request under way at a time."""

    def __init__(self, load: Load, number: int, results: Results, times: Iterator[float]) -> None:
        self._requests = Requests(load, number)
        self._is_batch = load.kind == "batch"
        self._times = times
        self._results = results
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._due_at: float | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        """Send the next request when it is due; at once if that is over."""
        self._due_at = next(self._times, None)
        if self._due_at is None:
            self._transport.close()
        elif self._due_at <= self._loop.time():
            self._send()
        else:
            self._loop.call_at(self._due_at, self._send)

    def _send(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._requests.make())

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole, and go on."""
        self._buffer = self._buffer + data if self._buffer else data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        if len(body) < int(length or 0):
            return
        status = head[9:12].decode()
        self._results.statuses[status] += 1
        if status < "500":
            assert self._due_at is not None
            self._results.latencies.append(self._loop.time() - self._due_at)
        if self._is_batch and status == "200":
            for result in msgspec.json.decode(body)["results"]:
                self._results.commands[str(result["status"])] += 1
        self._buffer = b""
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        """It is over, as planned or not."""
        if self._due_at is not None:
            self._results.statuses["cut off"] += 1
        if not self.done.done():
            self.done.set_result(None)


def _timetable(load: Load, number: int, started: float) -> Iterator[float]:
    """When a connection's requests are due."""
    until = started + load.seconds
    loop = asyncio.get_running_loop()
    if load.rate is None:
        while (now := loop.time()) < until:
            yield now
        return
    interval = load.connections / load.rate
    due = started + interval * number / load.connections
    while due < until and loop.time() < until + 2.0:
        yield due
        due += interval


async def run(load: Load) -> Figures:
    """Apply the load."""
    loop, results = asyncio.get_running_loop(), Results()
    started = loop.time() + 0.2  # when all of them are connected
    connections: list[Connection] = []
    for number in range(load.connections):
        times = _timetable(load, number, started)
        _, made = await loop.create_connection(
            lambda number=number, times=times: Connection(load, number, results, times),  # type: ignore[misc]
            "127.0.0.1",
            load.port,
        )
        connections.append(made)
    cpu, started = time.process_time(), loop.time()
    await asyncio.gather(*[connection.done for connection in connections])
    return figures_of(load, results, loop.time() - started, time.process_time() - cpu)


def figures_of(load: Load, results: Results, seconds: float, cpu_seconds: float) -> Figures:
    """The sum of it."""
    latencies = results.latencies
    if load.rate is None and latencies:
        latencies = corrected(latencies, seconds * load.connections / len(latencies))
    latencies = sorted(latencies) or [0.0]
    return Figures(
        rate=sum(results.statuses.values()) / seconds,
        good_rate=len(results.latencies) / seconds,
        ms_p50=latencies[len(latencies) // 2] * 1000,
        ms_p99=latencies[int(len(latencies) * 0.99)] * 1000,
        ms_max=latencies[-1] * 1000,
        statuses=dict(results.statuses),
        commands=dict(results.commands),
        cpu_seconds=cpu_seconds,
    )


def corrected(latencies: list[float], interval: float) -> list[float]:
    """With those who did not come because one of these was under way: one each `interval`."""
    added = []
    for latency in latencies:
        missing = latency - interval
        while missing > interval:
            added.append(missing)
            missing -= interval
    return latencies + added


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(asked))))
