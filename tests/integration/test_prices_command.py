"""`prices simulate`: what the past would have cost, from what is still readable of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger_service.generations.document import shipped
from tests.fixtures.live import LiveLedger, expect, serve
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow

LITE, FLUX = "veo-3.1-lite", "flux-schnell"
ORDERS: list[tuple[str, str, dict[str, Any]]] = [
    ("ann", LITE, {"prompt": "a boat"}),  # 20, and 48 under the new book
    ("ann", LITE, {"prompt": "a boat", "duration": "4s"}),  # 10, and 24
    ("ann", LITE, {"prompt": "a boat", "resolution": "1080p"}),  # 32, and 48
    ("bob", LITE, {"prompt": "a boat"}),  # 20, and unreadable
    ("ann", FLUX, {"prompt": "a boat", "image_size": "square"}),  # 1, and no longer on offer
]


@pytest.fixture
def ledger(database: Database, processes: Processes) -> LiveLedger:
    """A ledger with a few orders, of one of which nothing can be read any more."""
    live = serve(processes, database)
    for account_id in ("ann", "bob"):
        live.caller.grant(account_id, 100)
    for account_id, model, content in ORDERS:
        body = {"account_id": account_id, "model": model, "input": content}
        expect(202, live.caller.post("/v1/generations", body))
    with database.connect() as connection:  # as somebody is forgotten
        connection.execute("DELETE FROM ledger.subject_keys WHERE owner = 'demo/bob'")
    live.close()
    return live


@pytest.fixture
def new_book(tmp_path: Path) -> Path:
    """Six credits a second whatever the resolution, and no more images."""
    document = msgspec.to_builtins(shipped()) | {"book": 2}
    for entry in document["models"]:
        entry["available"] = entry["kind"] == "video"
        if entry["model"] == LITE:
            entry["price"] |= {"unit_price_millis": 6_000, "factors": {}}
    path = tmp_path / "new.json"
    path.write_bytes(msgspec.json.encode(document))
    return path


def simulated(
    processes: Processes, ledger: LiveLedger, *arguments: str
) -> dict[str, tuple[int, ...]]:
    """The numbers by model: generations, unreadable, refused, charged, anew, difference."""
    env = ledger.process.command.env
    printed = processes.run("ledger_service", "prices", "simulate", *arguments, env=env)
    assert "boat" not in printed
    rows = [line.split() for line in printed.splitlines()[2:]]
    return {name: tuple(map(int, numbers)) for name, *numbers in rows}


def test_the_past_is_priced_anew(processes: Processes, ledger: LiveLedger, new_book: Path) -> None:
    """By model and in all; what cannot be read or had is counted and left out of the sums."""
    before = head(ledger)
    assert simulated(processes, ledger, "--file", str(new_book)) == {
        LITE: (4, 1, 0, 62, 120, 58),
        FLUX: (1, 0, 1, 0, 0, 0),
        "total": (5, 1, 1, 62, 120, 58),
    }
    assert head(ledger) == before


def test_todays_book_charges_what_was_charged(
    processes: Processes, ledger: LiveLedger, tmp_path: Path
) -> None:
    """A simulation of no change shows no difference."""
    path = tmp_path / "same.json"
    path.write_bytes(msgspec.json.encode(shipped()))
    rows = simulated(processes, ledger, "--file", str(path))
    assert rows["total"] == (5, 1, 0, 63, 63, 0)


def test_since_leaves_out_what_is_older(
    processes: Processes, ledger: LiveLedger, new_book: Path
) -> None:
    """A day, or an instant; nonsense is refused."""
    counted = simulated(processes, ledger, "--file", str(new_book), "--since", "2020-01-01")
    assert counted["total"][0] == 5
    later = simulated(processes, ledger, "--file", str(new_book), "--since", "2999-01-01T00:00Z")
    assert later == {"total": (0, 0, 0, 0, 0, 0)}
    with pytest.raises(AssertionError, match="not a date"):
        simulated(processes, ledger, "--file", str(new_book), "--since", "yesterday")


def test_prices_are_shown_without_a_database(processes: Processes, new_book: Path) -> None:
    """Every model with its price, of the shipped book and of any other."""
    usual = processes.run("ledger_service", "prices", "show", env={})
    assert usual.startswith(f"book {shipped().book}, digest {shipped().digest}\n")
    assert all(entry.model in usual for entry in shipped().models)
    other = processes.run("ledger_service", "prices", "show", env={"CATALOGUE_FILE": str(new_book)})
    assert f"{FLUX:<32}      1  per_image 0.4  unavailable" in other
    named = processes.run("ledger_service", "prices", "show", "--file", str(new_book), env={})
    assert named == other


def head(ledger: LiveLedger) -> int:
    """How long the log is."""
    with ledger.database.connect() as connection:
        row = connection.execute("SELECT max(position) FROM ledger.events").fetchone()
    assert row is not None
    return int(row[0])
