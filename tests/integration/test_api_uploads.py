"""Uploads: what a caller gives is what a provider fetches, for a while, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from contracts.limits import UPLOAD_MAX_BYTES, UPLOADS_KEPT_MAX_BYTES
from ledger_service.errors import Unavailable
from ledger_service.media.library import MediaLibrary
from ledger_service.media.uploads import (
    AT_ONCE_MAX,
    RETRY_AFTER_SECONDS,
    TENANT_AT_ONCE_MAX,
    Room,
    Uploads,
)
from ledger_service.signing import Signer
from ledger_service.store.pool import ReadPool
from tests.fixtures.bucket import Bucket
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import Caller, LiveLedger, expect, new_account
from tests.fixtures.tenants import new_tenant

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[2] / "deploy" / "emulators" / "fal" / "fixtures"
PICTURE = (FIXTURES / "still.png").read_bytes()


def upload(caller: Caller, content: Any = PICTURE, **headers: str) -> httpx.Response:
    """Send a file."""
    return caller.http.post("/v1/uploads", content=content, headers=headers)


def rows(ledger: LiveLedger, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask the database."""
    with psycopg.connect(ledger.database.url) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def stored(ledger: LiveLedger) -> set[Path]:
    """All uploads in the storage."""
    storage = Path(urlsplit(ledger.process.command.env["STORAGE_URL"]).path)
    return {path for path in (storage / "uploads").glob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("still.png", "image/png"),
        ("still.jpeg", "image/jpeg"),
        ("landscape-4s.mp4", "video/mp4"),
    ],
)
def test_an_upload_can_be_fetched_by_anyone_who_has_its_address(
    ledger: LiveLedger, name: str, media_type: str
) -> None:
    """The very bytes, as what they are, whatever the request called them; without any key."""
    content = (FIXTURES / name).read_bytes()
    answer = expect(201, upload(ledger.caller, content, **{"Content-Type": "text/html"}))
    assert answer["content_type"] == media_type
    assert answer["size_bytes"] == len(content)
    assert answer["sha256"] == hashlib.sha256(content).hexdigest()
    fetched = ledger.nobody.http.get(answer["url"])
    assert (fetched.status_code, fetched.content) == (200, content)
    assert fetched.headers["content-type"] == media_type
    again = expect(201, upload(ledger.caller, content))
    assert again["url"] != answer["url"]


def order(caller: Caller, account_id: str, url: str, path: str = "/v1/generations") -> Any:
    """Ask for a film, or for its price, that begins with the picture at an address."""
    body = {"model": model_with_image(caller), "input": {"prompt": "x", "image_url": url}}
    owner = {"account_id": account_id} if path == "/v1/generations" else {}
    return caller.post(path, {**owner, **body})


def model_with_image(caller: Caller) -> str:
    """A model on offer that takes `image_url`."""
    models = expect(200, caller.get("/v1/models"))["items"]
    return next(
        str(model["model"])
        for model in models
        if model["available"] and model["input_schema"]["required"] == ["prompt", "image_url"]
    )


@pytest.fixture(scope="module")
def account_id(ledger: LiveLedger) -> str:
    """An account that can pay for everything here."""
    made = new_account()
    ledger.caller.grant(made, 10_000)
    return made


def test_a_generation_begins_with_an_upload(ledger: LiveLedger, account_id: str) -> None:
    """Its address stands in the input as it is, quoted and ordered, and the worker hands it on."""
    url = expect(201, upload(ledger.caller))["url"]
    assert expect(200, order(ledger.caller, account_id, url, "/v1/quotes"))["price"] > 0
    asked = expect(202, order(ledger.caller, account_id, url))["generation"]
    assert asked["input"]["image_url"] == url
    claim = HandWorker(ledger.worker).claim(asked["generation_id"])
    assert ledger.nobody.http.get(claim["input"]["image_url"]).content == PICTURE


def test_only_our_own_address_is_taken_in_place_of_a_public_one(
    ledger: LiveLedger, account_id: str
) -> None:
    """What was changed, has expired, or leads elsewhere is judged like any foreign address."""
    url = expect(201, upload(ledger.caller))["url"]
    parts = urlsplit(url)
    wrong = [
        f"{url[:-1]}{(int(url[-1], 16) + 1) % 16:x}",
        url.replace("expires=", "expires=1"),
        url + "&more=1",
        url.replace("127.0.0.1", "127.0.0.1@10.0.0.1"),
        url.replace(parts.netloc, "10.0.0.1:8080"),
        url.replace(parts.netloc, "10.0.0.1#@127.0.0.1"),
        url.replace(parts.netloc, "["),
        url.replace(".png", ".jpeg"),
        f"http://{parts.netloc}/v1/accounts/{account_id}",
    ]
    for link in wrong:
        problem = expect(400, order(ledger.caller, account_id, link))
        assert problem["code"] == "validation_failed", link
        assert {error["pointer"] for error in problem["errors"]} == {"/input/image_url"}


NO_MEDIA = {
    "a page": b"<!doctype html><script>alert(1)</script>",
    "a drawing with a script": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a picture that no model takes": b"\0\0\0\x18ftypheic" + bytes(50),
    "a program": b"MZ" + bytes(62),
}


@pytest.mark.parametrize("case", NO_MEDIA)
def test_what_is_no_media_is_not_kept(ledger: LiveLedger, case: str) -> None:
    """Whatever it calls itself; the answer says what is taken."""
    before = stored(ledger)
    answer = upload(ledger.caller, NO_MEDIA[case], **{"Content-Type": "image/png"})
    problem = expect(415, answer)
    assert problem["code"] == "unsupported_media_type"
    assert "image/png" in problem["media_types"]
    assert stored(ledger) == before


def too_much() -> Iterator[bytes]:
    """One byte more than is taken, of no stated length."""
    yield PICTURE[:64]
    for _ in range(64):
        yield bytes(2**20)


def test_a_file_that_is_empty_encoded_or_too_large_is_refused(ledger: LiveLedger) -> None:
    """At once where it says so itself, else as soon as it is known."""
    before = stored(ledger)
    assert expect(400, upload(ledger.caller, b""))["code"] == "validation_failed"
    encoded = upload(ledger.caller, PICTURE, **{"Content-Encoding": "gzip"})
    assert expect(415, encoded)["code"] == "unsupported_media_type"
    problem = expect(413, upload(ledger.caller, too_much()))
    assert problem["size_max_bytes"] == UPLOAD_MAX_BYTES
    assert stored(ledger) == before
    with raw_upload(ledger.caller, UPLOAD_MAX_BYTES + 1) as line:
        assert line.recv(1_000).startswith(b"HTTP/1.1 413")


def raw_upload(
    caller: Caller, announced: int, content: bytes = b"", more: str = ""
) -> socket.socket:
    """A connection on which an upload has begun."""
    parts = urlsplit(str(caller.http.base_url))
    assert parts.hostname is not None
    line = socket.create_connection((parts.hostname, parts.port or 80), timeout=10.0)
    head = f"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {caller.key}\r\n{more}"
    line.sendall(f"{head}Content-Length: {announced}\r\n\r\n".encode() + content)
    return line


def test_who_sends_nothing_keeps_places_of_its_own_alone(ledger: LiveLedger) -> None:
    """A tenant has few at a time; beyond them it is told at once to come again. Others are let in,
    and so is it when one of its own has gone."""
    tenant = new_tenant(ledger)
    with ExitStack() as stack:
        lines = [
            stack.enter_context(raw_upload(tenant, len(PICTURE), more="Expect: 100-continue\r\n"))
            for _ in range(TENANT_AT_ONCE_MAX)
        ]
        for line in lines:
            assert line.recv(1_000).startswith(b"HTTP/1.1 100")  # it is let in
        refused = upload(tenant)
        assert expect(503, refused)["code"] == "unavailable"
        assert int(refused.headers["Retry-After"]) == RETRY_AFTER_SECONDS
        expect(201, upload(ledger.caller))
        lines[0].sendall(PICTURE)
        assert lines[0].recv(1_000).startswith(b"HTTP/1.1 201")
        expect(201, upload(tenant))


def test_half_a_file_is_none(ledger: LiveLedger) -> None:
    """A sender that goes away leaves nothing, neither a file nor a note of one."""
    count = "SELECT count(*) FROM ledger.uploads"
    before, noted = stored(ledger), rows(ledger, count)
    with raw_upload(ledger.caller, len(PICTURE), PICTURE[:-1]):
        pass
    expect(201, upload(ledger.caller))  # by now the other one has been judged
    assert rows(ledger, count) == [(noted[0][0] + 1,)]
    assert len(stored(ledger) - before) == 1


def test_a_file_that_the_storage_is_still_at_keeps_its_place(
    ledger: LiveLedger, bucket: Bucket
) -> None:
    """Its sender was told so long ago, but its thread is there: no more of them than places."""
    bucket.answers.clear()
    rooms: list[Room] = []

    async def keep(uploads: Uploads, tenant: str) -> None:
        with uploads.room(tenant) as room:
            rooms.append(room)
            await uploads.keep(io.BytesIO(PICTURE), room, "")

    async def play(pool: ReadPool) -> None:
        library = MediaLibrary(bucket.url, Signer(b"a-secret-of-tests"))
        uploads = Uploads(pool, library, timedelta(hours=1), store_wait_seconds=0.05)
        every = [keep(uploads, f"a-tenant-{number}") for number in range(AT_ONCE_MAX)]
        told = await asyncio.gather(*every, return_exceptions=True)
        assert {str(each) for each in told} == {"the storage does not take it"}
        with pytest.raises(Unavailable, match="too many uploads"):
            await keep(uploads, "another")
        bucket.answers.set()
        await asyncio.wait([room.storing for room in rooms if room.storing is not None])
        with uploads.room("another"):
            pass

    async def with_pool() -> None:
        pool = ReadPool(ledger.database.url)
        await pool.open()
        try:
            await play(pool)
        finally:
            await pool.close()

    asyncio.run(with_pool())
    assert len(bucket.objects) == AT_ONCE_MAX


def test_who_may_not_spend_may_not_upload(ledger: LiveLedger) -> None:
    """Reading is not enough, and a worker is no tenant's."""
    for caller in (ledger.reader, ledger.worker):
        assert expect(403, upload(caller))["needed_scope"] == "spend"
    assert expect(401, upload(ledger.nobody))["code"] == "unauthenticated"


def test_a_tenant_keeps_no_more_than_its_share(ledger: LiveLedger) -> None:
    """Past it nothing is stored until something has gone; others are not concerned."""
    tenant = new_tenant(ledger)
    first = expect(201, upload(tenant))
    key = urlsplit(first["url"]).path.removeprefix("/v1/media/")
    full = "UPDATE ledger.uploads SET size_bytes = %s WHERE asset_key = %s"
    rows(ledger, full, UPLOADS_KEPT_MAX_BYTES - len(PICTURE), key)
    expect(201, upload(tenant))
    before = stored(ledger)
    problem = expect(409, upload(tenant))
    assert (problem["code"], problem["uploads_max_bytes"]) == (
        "limit_reached",
        UPLOADS_KEPT_MAX_BYTES,
    )
    assert stored(ledger) == before
    expect(201, upload(ledger.caller))
