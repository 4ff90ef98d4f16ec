"""What leaves the storage, and when: results that were deleted, and what dead workers left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from ledger_service.domain.commands import Command
from ledger_service.media.caretaker import Caretaker
from ledger_service.media.library import MediaLibrary
from ledger_service.media.removal import MediaRemoval
from ledger_service.signing import Signer
from ledger_service.store.link import connect
from tests.fixtures.hand_worker import ASSET, FAILED, SUCCEEDED, HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

PICTURE = b"\x89PNG\r\n\x1a\n a picture of a boat"
SIGNER = Signer(b"a-secret-of-tests")


class Care:
    """A ledger with a storage, and who removes from it, turn by turn. `submitted`: what was
    recorded; `takes`: whether the ledger takes it."""

    def __init__(self, ledger: LiveLedger) -> None:
        self.ledger = ledger
        self.by_hand = HandWorker(ledger.worker)
        self.account_id = new_account()
        ledger.caller.grant(self.account_id, 1_000)
        self.storage_url = ledger.process.command.env["STORAGE_URL"]
        self.media = Path(urlsplit(self.storage_url).path)
        self.submitted: list[Command] = []
        self.takes = True

    async def _submit(self, commands: Sequence[Command]) -> bool:
        self.submitted += commands if self.takes else ()
        return self.takes

    def fetching(self) -> Any:
        """The claim of a worker that may store the result of a new generation now."""
        body = {"account_id": self.account_id, "model": "veo-3.1-lite", "input": {"prompt": "x"}}
        asked = expect(202, self.ledger.caller.post("/v1/generations", body))
        claim = self.by_hand.claim(asked["generation"]["generation_id"])
        told = ({"type": "submitted", "request_id": "req-1"},
                {"type": "running", "provider_status": "COMPLETED", "completed": True})  # fmt: skip
        for event in told:
            claim = expect(200, self.by_hand.report(claim, event))["next_claim"]
        return claim

    def store(self, claim: Any, name: str = "") -> Path:
        """A file of a claim's attempt."""
        path = self.media / f"{claim['asset_key']}{name}.mp4"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"a boat")
        return path

    def turn(self, seconds: float = 0.0, storage_url: str | None = None) -> None:
        """Read all of the log, and remove what is due; leftovers `seconds` after an end."""
        library = MediaLibrary(self.storage_url if storage_url is None else storage_url, SIGNER)
        removal = MediaRemoval(library, self._submit, timedelta(seconds=seconds))

        async def take() -> None:
            async with await connect(self.ledger.database.url) as connection:
                behind = 1
                while behind:
                    await removal.turn(connection)
                    behind = await _behind(connection)
                await removal.turn(connection)

        asyncio.run(take())

    def sql(self, query: str, about: Any) -> list[tuple[Any, ...]]:
        """Rows about a claim's generation, or about a key."""
        value = about if isinstance(about, str) else about["generation_id"]
        with psycopg.connect(self.ledger.database.url) as connection:
            cursor = connection.execute(query, [value])
            return cursor.fetchall() if cursor.description else []


async def _behind(connection: Any) -> int:
    query = """SELECT last - position FROM ledger.logs, ledger.projections
        WHERE log = 'main' AND name = 'media'"""
    (row,) = await (await connection.execute(query)).fetchall()
    return int(row[0])


@pytest.fixture
def care(ledger: LiveLedger) -> Care:
    """The shared ledger has no clockwork: here the test is it."""
    return Care(ledger)


def succeeded(*keys: str) -> dict[str, Any]:
    """A success with these assets."""
    first, *more = [ASSET | {"key": key} for key in keys]
    return SUCCEEDED | {"asset": first, "more": more}


def test_what_a_dead_worker_left_of_a_failure_goes_after_a_while(care: Care) -> None:
    """Not before the last worker has certainly given up; then all of it, also what was half
    written, and nothing of anybody else."""
    failed, running = care.fetching(), care.fetching()
    left, foreign = care.store(failed), care.store(running)
    half = left.with_name(left.name + "#1")
    half.write_bytes(b"half a b")
    care.turn(60.0)
    expect(200, care.by_hand.report(failed, FAILED))
    care.turn(60.0)
    assert left.exists()
    care.sql("UPDATE ledger.media_leftovers SET look_at = now() WHERE generation_id = %s", failed)
    care.turn(60.0)
    assert not left.parent.exists()
    assert foreign.exists()
    assert care.sql("SELECT 1 FROM ledger.media_leftovers WHERE generation_id = %s", failed) == []


def test_a_result_stays_where_other_copies_go(care: Care) -> None:
    """An earlier worker's copy is none of the results: they stay, all of them."""
    claim = care.fetching()
    kept, more, left = (care.store(claim, name) for name in ("-a", "-2-b", "-c"))
    keys = [str(path.relative_to(care.media)) for path in (kept, more)]
    expect(200, care.by_hand.report(claim, succeeded(*keys)))
    care.turn()
    assert [path.exists() for path in (kept, more, left)] == [True, True, False]


def test_a_copy_that_came_after_the_refund_goes_too(care: Care) -> None:
    """A worker that was frozen stores and reports late: that is looked at once more."""
    claim = care.fetching()
    expect(200, care.by_hand.report(claim, FAILED))
    care.turn()
    late = care.store(claim)
    care.turn()
    assert late.exists()
    expect(200, care.by_hand.report(claim, succeeded(f"{claim['asset_key']}.mp4")))
    care.turn()
    assert not late.parent.exists()


def test_a_thumbnail_is_served_and_goes_with_its_result(care: Care) -> None:
    """Beside the result, by a link of its own, for as long as the result is there."""
    claim = care.fetching()
    film, still, left = (care.store(claim, name) for name in ("-a", "-a-small", "-b"))
    thumbnail = {
        "key": str(still.relative_to(care.media)), "content_type": "image/jpeg",
        "size_bytes": 6, "width": 320, "height": 180,
    }  # fmt: skip
    asset = ASSET | {"key": str(film.relative_to(care.media)), "thumbnail": thumbnail}
    expect(200, care.by_hand.report(claim, SUCCEEDED | {"asset": asset}))
    caller = care.ledger.caller
    path = f"/v1/generations/{claim['generation_id']}"
    shown = expect(200, caller.get(path))["result"]
    assert care.ledger.nobody.http.get(shown["thumbnail_url"]).content == b"a boat"
    care.turn()
    assert [file.exists() for file in (film, still, left)] == [True, True, False]
    expect(200, caller.http.delete(path))
    care.turn()
    assert not film.parent.exists()


def test_an_upload_goes_when_its_time_is_over(care: Care) -> None:
    """Its file and its note, a while after its link; one that is gone already is no trouble."""
    http = care.ledger.caller.http
    first, kept = (expect(201, http.post("/v1/uploads", content=PICTURE)) for _ in range(2))
    care.turn()
    assert http.get(first["url"]).content == PICTURE
    key = urlsplit(first["url"]).path.removeprefix("/v1/media/")
    noted = "SELECT remove_at > now() + interval '1 day' FROM ledger.uploads WHERE asset_key = %s"
    assert care.sql(noted, key) == [(True,)]
    for _ in range(2):
        over = "UPDATE ledger.uploads SET remove_at = now() WHERE asset_key = %s"
        care.sql(over, key)
        care.turn()
        assert care.sql(noted, key) == []
        assert http.get(first["url"]).status_code == 404
        care.sql("INSERT INTO ledger.uploads VALUES (%s, 'demo', 1, now())", key)
    assert http.get(kept["url"]).content == PICTURE


def test_a_storage_in_trouble_is_asked_again_and_holds_nobody_up(
    care: Care, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be removed now is due again soon; a ledger without a storage keeps its notes."""
    claim = care.fetching()
    stuck = care.store(claim) / "a folder that should be a file"
    stuck.parent.unlink()
    stuck.mkdir(parents=True)
    expect(200, care.by_hand.report(claim, FAILED))
    noted = "SELECT look_at > now() FROM ledger.media_leftovers WHERE generation_id = %s"
    care.turn(storage_url="")
    assert care.sql(noted, claim) == [(False,)]
    care.turn()
    assert care.sql(noted, claim) == [(True,)]
    assert f"media of {claim['generation_id']} stay" in caplog.text
    stuck.rmdir()
    stuck.parent.rmdir()


def test_a_storage_that_never_answers_holds_nobody_up(
    care: Care, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its care goes on beside the clockwork's other works, and ends with them: nothing is lost."""
    claim = care.fetching()
    left = care.store(claim)
    expect(200, care.by_hand.report(claim, FAILED))

    async def begin_and_stop(silent: socket.socket) -> None:
        library = MediaLibrary("s3://boats/media", SIGNER)
        removal = MediaRemoval(library, care._submit, timedelta())
        caretaker = Caretaker(care.ledger.database.url, removal)
        is_asked = asyncio.ensure_future(asyncio.to_thread(silent.accept))
        while not is_asked.done():  # the log may take several turns to be read
            caretaker.begin()
            await asyncio.wait([is_asked], timeout=0.05)
        is_asked.result()[0].close()
        line, _ = is_asked.result()
        async with asyncio.timeout(5.0):
            await caretaker.stop()
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ALLOW_HTTP"):
            monkeypatch.setenv(name, "true")
        asyncio.run(begin_and_stop(silent))
    assert left.exists()
    care.turn()
    assert not left.exists()


def test_a_removal_that_is_not_recorded_is_done_again(care: Care) -> None:
    """Files go first, and then the log says so: as long as it does not, nothing is forgotten."""
    claim = care.fetching()
    path = care.store(claim)
    expect(200, care.by_hand.report(claim, succeeded(str(path.relative_to(care.media)))))
    expect(200, care.ledger.caller.http.delete(f"/v1/generations/{claim['generation_id']}"))
    care.takes = False
    care.turn()
    assert not path.exists()
    care.takes = True
    care.sql("UPDATE ledger.media SET due_at = now() WHERE generation_id = %s", claim)
    care.turn()
    removed = [getattr(command, "generation_id", None) for command in care.submitted]
    assert claim["generation_id"] in removed
    assert care.sql("SELECT 1 FROM ledger.media WHERE generation_id = %s", claim) == []
