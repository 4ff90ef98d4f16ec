"""What a soak left behind, as the log, the provider and the storage have it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psycopg

from contracts.api.generations import FINAL_STATUSES
from tests.fixtures.checker import ENDING_TOPICS
from tests.fixtures.stack import Stack

_UNDONE: Final = """SELECT last - position
        + (SELECT count(*) FROM ledger.media WHERE due_at IS NOT NULL AND asset_keys <> '{}')
        + (SELECT count(*) FROM ledger.media_leftovers)
    FROM ledger.logs, ledger.projections WHERE log = 'main' AND name = 'media'"""
"""Events that the follower of media has not read, removals that are due, and folders of the
storage that are to be looked at for what dead workers left."""


class Life(msgspec.Struct, kw_only=True):
    """One generation as its events tell it."""

    account_id: str
    price: int
    debit_id: str | None
    attempts: int = 0
    endings: list[str] = []
    reason: str = ""
    refunded: int = 0
    assets: list[dict[str, Any]] = []
    is_deleted: bool = False
    is_removed: bool = False

    @property
    def ending(self) -> str:
        """How it ended; several endings or none are a finding of their own."""
        return "+".join(self.endings) or "open"


class Books:
    """Everything that can be read once all is quiet."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.lives: dict[str, Life] = {}
        self.refunds: dict[str, list[int]] = {}
        self._read_log(stack)
        self.asked = _submits(folder)
        self.accepted = Counter(item["tags"].get("generation") for item in stack.submits())
        self.files = {
            path.relative_to(stack.media): path for path in stack.media.rglob("*") if path.is_file()
        }
        self.open_jobs = _open_jobs(stack)

    def _read_log(self, stack: Stack) -> None:
        headers = {
            "Authorization": f"Bearer {stack.env['LEDGER_API_KEY']}",
            "Accept": "application/x-ndjson",
        }
        url = f"{stack.env['LEDGER_URL']}/v1/events"
        answer = httpx.get(url, headers=headers, trust_env=False, timeout=120.0)
        assert answer.status_code == 200, answer.text
        for line in answer.text.splitlines():
            event = msgspec.json.decode(line)
            self._follow(event["stream"].rpartition("/")[2], event["topic"], event["data"])

    def _follow(self, stream: str, topic: str, data: Any) -> None:
        if topic == "debit_refunded.v1":
            self.refunds.setdefault(data["debit_id"], []).append(data["amount"])
        if topic == "generation_requested.v1":
            self.lives[stream] = Life(
                account_id=data["account_id"],
                price=data["price"],
                debit_id=data["debit_id"],
                endings=[],
                assets=[],
            )
        life = self.lives.get(stream)
        if life is None:
            return
        life.attempts += topic == "submission_started.v1"
        life.is_deleted |= topic == "generation_deleted.v1"
        life.is_removed |= topic == "media_removed.v1"
        if topic in ENDING_TOPICS:
            life.endings.append(ENDING_TOPICS[topic])
            life.reason = data.get("reason", "")
            life.refunded = data.get("refunded", 0)
        if topic == "generation_succeeded.v1":
            life.assets = [data["asset"], *data.get("more", [])]


def _submits(folder: Path) -> Counter[str]:
    """How often each attempt was asked for at the provider, refused and dropped ones included."""
    state = folder / "fal" / "jobs.sqlite"
    with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT json_extract(tags, '$.attempt') FROM submits").fetchall()
    connection.close()
    return Counter(attempt for (attempt,) in rows)


def is_quiet(stack: Stack) -> bool:
    """Every generation has ended, and what was deleted has been removed."""
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        row = connection.execute(_UNDONE).fetchone()
    return row == (0,) and not _open_jobs(stack)


def _open_jobs(stack: Stack) -> int:
    final = [str(status) for status in FINAL_STATUSES]
    query = "SELECT count(*) FROM ledger.jobs WHERE status <> ALL (%s) OR due_at IS NOT NULL"
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        row = connection.execute(query, [final]).fetchone()
    assert row is not None
    return int(row[0])
