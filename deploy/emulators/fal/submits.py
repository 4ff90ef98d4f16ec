"""The log of submits: every one that was asked for, whatever came of it."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from deploy.emulators.fal.chaos import Chaos


class SubmitLog:
    """Numbers the submits in the order of their arrival, and draws each one's chaos."""

    def __init__(self, connection: sqlite3.Connection, chaos: Chaos | None) -> None:
        self._db = connection
        self._chaos = chaos

    def begin(
        self, endpoint: str, tags: dict[str, str], now: float, *, spoil: bool
    ) -> tuple[int, str]:
        """Note a submit; return its number, and the directive that chaos adds if `spoil`."""
        (number,) = self._db.execute(
            "INSERT INTO submits (at, endpoint, tags, chaos) VALUES (?, ?, ?, '') RETURNING number",
            (now, endpoint, msgspec.json.encode(tags).decode()),
        ).fetchone()
        chaos = self._chaos.pick(number) if self._chaos is not None and spoil else ""
        if chaos:
            self._db.execute("UPDATE submits SET chaos = ? WHERE number = ?", (chaos, number))
        return number, chaos

    def accept(self, number: int, request_id: str) -> None:
        """Note that a submit has become a job."""
        self._db.execute("UPDATE submits SET request_id = ? WHERE number = ?", (request_id, number))

    def refuse(self, number: int, status_code: int) -> None:
        """Note that a submit was answered with a refusal."""
        self._db.execute("UPDATE submits SET refused = ? WHERE number = ?", (status_code, number))

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The latest submits, newest first."""
        rows = self._db.execute("SELECT * FROM submits ORDER BY number DESC LIMIT ?", (limit,))
        return [dict(row) | {"tags": msgspec.json.decode(row["tags"])} for row in rows]

    def counts(self) -> dict[str, int]:
        """How many submits there were, and how many became jobs."""
        row = self._db.execute("SELECT count(*), count(request_id) FROM submits").fetchone()
        return {"asked": row[0], "accepted": row[1]}

    def repeated_tags(self) -> dict[str, int]:
        """Tags (as JSON) that several jobs share to the last one: a submit was repeated."""
        return self._repeated("tags", "tags != '{}'")

    def repeated_generations(self) -> dict[str, int]:
        """Values of the tag ``generation`` that several jobs bear: it was tried more than once."""
        value = "json_extract(tags, '$.generation')"
        return self._repeated(value, f"{value} IS NOT NULL")

    def _repeated(self, value: str, where: str) -> dict[str, int]:
        # Both are literals of this class.
        query = f"SELECT {value}, count(*) FROM jobs WHERE {where} GROUP BY 1 HAVING count(*) > 1"  # noqa: S608
        return {str(row[0]): int(row[1]) for row in self._db.execute(query)}
