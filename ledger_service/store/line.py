"""A connection that sends packets of statements while answers to earlier ones are on their way.

psycopg's own pipeline hands each statement to the server by itself and lets a task run for each
result. This speaks to the same libpq connection from the event loop's callbacks, and uses
psycopg's loaders and errors, so nobody above can tell the difference.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from ledger_service.store.link import watched

_FAILED: Final = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE})
_TEXT, _BINARY = pq.Format.TEXT, pq.Format.BINARY

Rows = list[Any]


class Query(NamedTuple):
    """A statement with its parameters: `str` in PostgreSQL's text format, `bytes` in its binary
    one."""

    text: str
    values: tuple[str | bytes | None, ...] = ()


class _Packet:
    """Statements that were sent together. `prepares`: for each result, the statement that it only
    prepared, or None where it has rows."""

    __slots__ = ("answer", "error", "prepares", "rows", "taken")

    def __init__(self, answer: asyncio.Future[list[Rows]]) -> None:
        self.answer = answer
        self.prepares: list[str | None] = []
        self.rows: list[Rows] = []
        self.taken = 0
        self.error: psycopg.Error | None = None


class Line:
    """One open connection, for one event loop. Make it with `open_line`.

    A packet is one implicit transaction, unless it says BEGIN: it is durable when its answer is
    here, and a statement that fails takes the others with it.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection  # psycopg ends what is not referred to any more
        self._pgconn = connection.pgconn
        self._descriptor = connection.fileno()
        self._loop = asyncio.get_running_loop()
        self._transformer = Transformer(connection)
        self._names: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self._packets: deque[_Packet] = deque()
        self._writes = False
        self._broken: psycopg.Error | None = None
        self._pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._descriptor, self._read)

    @property
    def is_broken(self) -> bool:
        """Nothing can be sent any more."""
        return self._broken is not None

    def send(self, *queries: Query) -> asyncio.Future[list[Rows]]:
        """Send one packet; the answer has the rows of each query, or raises psycopg's error."""
        answer: asyncio.Future[list[Rows]] = self._loop.create_future()
        if self._broken is not None:
            answer.set_exception(self._broken)
            return answer
        packet = _Packet(answer)
        self._packets.append(packet)
        try:
            for query in queries:
                self._put(query, packet)
            self._pgconn.pipeline_sync()
            self._write()
        except psycopg.OperationalError as error:
            self._break(error)
        return answer

    def close(self) -> None:
        """End the connection; whoever still waits hears that it broke. Never raises."""
        self._break(psycopg.OperationalError("the connection was closed"))

    def _put(self, query: Query, packet: _Packet) -> None:
        name = self._names.get(query.text)
        if name is None:
            name = self._names[query.text] = b"line_%d" % next(self._numbers)
            self._pgconn.send_prepare(name, query.text.encode())
            packet.prepares.append(query.text)
        values = [value.encode() if isinstance(value, str) else value for value in query.values]
        formats = [_BINARY if isinstance(value, bytes) else _TEXT for value in query.values]
        self._pgconn.send_query_prepared(name, values, formats, result_format=_BINARY)
        packet.prepares.append(None)

    def _write(self) -> None:
        """Send what the socket takes now; the rest follows when it takes more."""
        is_left = bool(self._pgconn.flush())
        if is_left and not self._writes:
            self._loop.add_writer(self._descriptor, self._write_more)
        elif self._writes and not is_left:
            self._loop.remove_writer(self._descriptor)
        self._writes = is_left

    def _write_more(self) -> None:
        try:
            self._write()
        except psycopg.OperationalError as error:
            self._break(error)

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            self._take_results()
        except psycopg.OperationalError as error:
            self._break(error)

    def _take_results(self) -> None:
        while self._packets and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                continue  # the end of one statement's results
            packet = self._packets[0]
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                self._packets.popleft()
                self._finish(packet)
            elif result.status in _FAILED:
                packet.error = packet.error or error_from_result(result)
            elif packet.error is None and packet.prepares[packet.taken] is None:
                packet.rows.append(self._rows(result))
            packet.taken += 1

    def _finish(self, packet: _Packet) -> None:
        if packet.error is not None:
            for text in packet.prepares:
                if text is not None:
                    self._names.pop(text, None)  # perhaps it was skipped
        if packet.answer.done():
            return  # whoever asked has gone
        if packet.error is not None:
            packet.answer.set_exception(packet.error)
        else:
            packet.answer.set_result(packet.rows)

    def _rows(self, result: pq.abc.PGresult) -> Rows:
        if not result.ntuples:
            return []
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def _break(self, error: psycopg.Error) -> None:
        """The connection is of no use any more; all that wait get the reason."""
        if self._broken is not None:
            return
        self._broken = error
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._pgconn.finish()
        while self._packets:
            packet = self._packets.popleft()
            if not packet.answer.done():
                packet.answer.set_exception(packet.error or error)


async def open_line(url: str, session: str) -> Line:
    """Connect, and run the statements of `session`. Raises psycopg's errors."""
    connection = await psycopg.AsyncConnection.connect(watched(url), autocommit=True)
    try:
        await connection.execute(session.encode(), prepare=False)
    except BaseException:
        await connection.close()
        raise
    return Line(connection)
