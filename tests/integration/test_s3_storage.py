"""Results and uploads in an object store: put as what they are, reached by links that it signs."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from contracts.jobs import Asset
from contracts.media import PNG
from job_worker.downloads import MediaHosts
from job_worker.media import MediaStore
from job_worker.reconciling.sides import read_files
from ledger_service.errors import Rejected, Unavailable
from ledger_service.media.library import MediaLibrary
from ledger_service.media.own_thread import in_own_thread
from ledger_service.signing import Signer
from tests.fixtures.bucket import Bucket
from tests.fixtures.serving import QuietHandler, serving

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[2] / "deploy" / "emulators" / "fal" / "fixtures"
FILM = (FIXTURES / "landscape-4s.mp4").read_bytes()


LEFT_WHILE_STORING = """
import asyncio, io, sys
from contracts.media import PNG
from ledger_service.media.library import MediaLibrary
from ledger_service.signing import Signer

async def main():
    library = MediaLibrary(sys.argv[1], Signer(b"a-secret-of-tests"))
    storing = asyncio.create_task(library.store("uploads/a", io.BytesIO(b"x"), PNG))
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


def library(bucket: Bucket) -> MediaLibrary:
    """The ledger's view of it."""
    return MediaLibrary(bucket.url, Signer(b"a-secret-of-tests"))


def copied(bucket: Bucket) -> Asset:
    """A copy of the film by a worker."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.reply(200, FILM)

    async def copy(host: str) -> Asset:
        store = MediaStore(bucket.url, MediaHosts((host,)))
        try:
            return await store.copy(f"http://{host}/x", "gen_1/att_1", "video")
        finally:
            await store.close()

    with serving(Handler) as host:
        return asyncio.run(copy(host))


def test_a_result_is_put_under_its_type_and_reached_by_a_signed_link(bucket: Bucket) -> None:
    """The link is the store's own, for an hour; without its signature there is nothing."""
    asset = copied(bucket)
    (kept,) = bucket.objects.items()
    assert kept[0] == f"media/{asset.key}"
    assert (kept[1].content, kept[1].content_type) == (FILM, "video/mp4")
    link = asyncio.run(library(bucket).link(asset.key, "http://ledger.invalid"))
    query = parse_qs(urlsplit(link.url).query)
    assert query["X-Amz-Expires"] == ["3600"]
    assert timedelta(minutes=59) < link.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert httpx.get(link.url, trust_env=False).content == FILM
    assert httpx.get(link.url.partition("?")[0], trust_env=False).status_code == 403
    # The ledger itself serves nothing of it.
    with pytest.raises(Rejected):
        asyncio.run(library(bucket).open(asset.key, 2**40, "0" * 64, None))


def test_an_upload_has_a_link_for_as_long_as_it_is_kept(bucket: Bucket) -> None:
    """A day, and not an hour: a generation may have to wait before its provider fetches it."""

    async def keep() -> str:
        mine = library(bucket)
        await mine.store("uploads/a.png", io.BytesIO(b"a picture"), PNG)
        return (await mine.link("uploads/a.png", "", timedelta(days=1))).url

    url = asyncio.run(keep())
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["86400"]
    assert httpx.get(url, trust_env=False).content == b"a picture"
    assert bucket.objects["media/uploads/a.png"].content_type == "image/png"
    bucket.is_broken = True
    with pytest.raises(Unavailable):
        asyncio.run(library(bucket).store("uploads/b.png", io.BytesIO(b"x"), PNG))


def test_a_storage_that_hangs_keeps_no_thread_of_others(bucket: Bucket) -> None:
    """What else a process does in threads goes on: here it is what ends the hanging."""
    bucket.answers.clear()

    async def play() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        storing = asyncio.create_task(library(bucket).store("uploads/a", io.BytesIO(b"x"), PNG))
        await in_own_thread(bucket.asked.wait)
        try:
            async with asyncio.timeout(10.0):
                await asyncio.to_thread(bucket.answers.set)
                await storing
        finally:
            bucket.answers.set()

    asyncio.run(play())
    assert "media/uploads/a" in bucket.objects


def test_a_storage_that_hangs_holds_no_end_up(bucket: Bucket) -> None:
    """A process ends with the file under way, and as a success."""
    bucket.answers.clear()
    command = [sys.executable, "-c", LEFT_WHILE_STORING, bucket.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            assert bucket.asked.wait(20.0)
            process.communicate(b"end\n", timeout=20.0)
        finally:
            process.kill()
    assert process.returncode == 0
    assert not bucket.objects


def test_what_is_not_kept_of_a_folder_goes_and_its_neighbours_stay(bucket: Bucket) -> None:
    """Names that begin alike are others' folders; removing twice is harmless."""

    async def play() -> None:
        mine = library(bucket)
        for name in ("1/a.mp4", "1/a-small.jpeg", "1/b.mp4", "12/c.mp4", "2/d.mp4"):
            await mine.store(f"gen_{name}", io.BytesIO(b"x"), PNG)
        for _ in range(2):
            await mine.remove_others("gen_1", ["gen_1/a.mp4", "gen_1/a-small.jpeg"])
        await mine.remove_others("gen_3", [])
        for _ in range(2):
            await mine.remove(["gen_2/d.mp4"])

    asyncio.run(play())
    kept = ["media/gen_1/a-small.jpeg", "media/gen_1/a.mp4", "media/gen_12/c.mp4"]
    assert sorted(bucket.objects) == kept


def test_uploads_are_no_files_that_somebody_forgot(bucket: Bucket) -> None:
    """The comparison with the log is about results: it does not call an upload foreign."""
    asset = copied(bucket)

    async def look() -> Any:
        await library(bucket).store("uploads/a.png", io.BytesIO(b"x"), PNG)
        return await read_files(bucket.url, lambda _: None)

    assert list(asyncio.run(look())) == [asset.key]
