"""Several prepared statements in one packet, their results in one wait.

psycopg's own pipeline hands each statement to the server by itself and looks at the socket twice
for it; for a batch that was a third of the writer's work. This speaks to the same libpq
connection and uses psycopg's loaders and errors, so nobody above can tell the difference.
"""

from __future__ import annotations

import select
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

_FAILED = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE})


class Query(NamedTuple):
    """A statement with its parameters as text."""

    text: str
    values: tuple[str | None, ...] = ()


class Exchange:
    """Round trips on one connection, for one thread. Raises psycopg's errors."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def run(self, *queries: Query) -> list[list[Any]]:
        """The rows of each query. When one fails, the server skips those after it."""
        names = [self._name(query.text) for query in queries]
        try:
            results = self._send_and_receive(names, queries)
        except BaseException:
            self._connection.close()  # answers may still be on their way
            raise
        for result in results:
            if result.status in _FAILED:
                raise error_from_result(result)
        return [self._rows(result) for result in results]

    def _name(self, text: str) -> bytes:
        name = self._names.get(text)
        if name is None:
            name = b"exchange_%d" % len(self._names)
            result = self._pgconn.prepare(name, text.encode())
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise error_from_result(result)
            self._names[text] = name
        return name

    def _send_and_receive(
        self, names: list[bytes], queries: tuple[Query, ...]
    ) -> list[pq.abc.PGresult]:
        connection = self._pgconn
        connection.enter_pipeline_mode()
        for name, query in zip(names, queries, strict=True):
            values = [None if value is None else value.encode() for value in query.values]
            connection.send_query_prepared(name, values, result_format=pq.Format.BINARY)
        connection.pipeline_sync()
        self._flush()
        results = []
        for _ in queries:
            result = self._next()
            assert result is not None, "each query has a result"
            results.append(result)
            assert self._next() is None, "and only one"
        synced = self._next()
        assert synced is not None
        assert synced.status == pq.ExecStatus.PIPELINE_SYNC
        connection.exit_pipeline_mode()
        return results

    def _flush(self) -> None:
        """Send everything; the server may want its answers to be read meanwhile."""
        while self._pgconn.flush():
            self._poll.modify(self._connection.fileno(), select.POLLIN | select.POLLOUT)
            self._poll.poll()
            self._pgconn.consume_input()
        self._poll.modify(self._connection.fileno(), select.POLLIN)

    def _next(self) -> pq.abc.PGresult | None:
        while self._pgconn.is_busy():
            self._poll.poll()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _rows(self, result: pq.abc.PGresult) -> list[Any]:
        if not result.ntuples:
            return []
        transformer = Transformer(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)
