"""A load generator: keep-alive connections that each send the next request after an answer.

`python -m tests.benchmarks.load`: reads a `Load` as JSON from standard input, prints `Figures`
as JSON. A process of its own, so that its work is not mistaken for the server's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """POST `body` to `paths` in turn from `connections` at once, for `seconds`."""

    host: str
    port: int
    paths: list[str]
    key: str
    body: str
    connections: int
    seconds: float
    method: str = "POST"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Answers per second, latencies in milliseconds, and answers by status."""

    rate: float
    ms_p50: float
    ms_p99: float
    statuses: dict[str, int]


class Connection(asyncio.Protocol):
    """One connection; it has one request under way at a time."""

    def __init__(self, load: Load, number: int, until: float) -> None:
        self._load, self._number, self._until = load, number, until
        self._count = 0
        self._buffer = b""
        self._sent_at = 0.0
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        head = f"Host: {load.host}\r\nAuthorization: Bearer {load.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(load.body)}\r\n"
        self._head, self._run = head, time.monotonic_ns()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        load = self._load
        self._count += 1
        path = load.paths[(self._count * load.connections + self._number) % len(load.paths)]
        key = f"load-{self._run}-{self._number}-{self._count}"
        request = f"{load.method} {path} HTTP/1.1\r\n{self._head}Idempotency-Key: {key}\r\n\r\n"
        self._sent_at = time.perf_counter()
        self._transport.write((request + load.body).encode())

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole, and go on."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        if len(body) < int(length or 0):
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent_at)
        status = head[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """It is over, as planned or not."""
        if not self.done.done():
            self.done.set_result(None)


async def run(load: Load) -> Figures:
    """Apply the load."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    until = started + load.seconds
    connections = [
        (
            await loop.create_connection(
                lambda number=number: Connection(load, number, until),  # type: ignore[misc]
                load.host,
                load.port,
            )
        )[1]
        for number in range(load.connections)
    ]
    await asyncio.gather(*[connection.done for connection in connections])
    elapsed = time.perf_counter() - started
    latencies = sorted(value for connection in connections for value in connection.latencies)
    statuses: dict[str, int] = {}
    for connection in connections:
        for status, count in connection.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return Figures(
        rate=len(latencies) / elapsed,
        ms_p50=latencies[len(latencies) // 2] * 1000,
        ms_p99=latencies[int(len(latencies) * 0.99)] * 1000,
        statuses=statuses,
    )


if __name__ == "__main__":
    figures = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
