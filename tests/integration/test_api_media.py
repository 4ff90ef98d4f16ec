"""Stored files of a local folder over HTTP: whole, in parts, and to nobody without a link."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ledger_service.media import library
from ledger_service.media.library import MediaLibrary
from ledger_service.signing import Signer
from tests.fixtures.live import WEBHOOK_SECRET, LiveLedger, expect

pytestmark = pytest.mark.slow

FILM = bytes(range(256)) * 1_200
"""Longer than one piece."""


class Shelf:
    """The storage of a ledger, and links to what lies in it."""

    def __init__(self, ledger: LiveLedger) -> None:
        self.ledger = ledger
        storage_url = ledger.process.command.env["STORAGE_URL"]
        self.folder = Path(urlsplit(storage_url).path)
        self.library = MediaLibrary(storage_url, Signer(WEBHOOK_SECRET.encode()))

    def put(self, key: str, content: bytes = FILM) -> str:
        """Store a file; returns its link."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return self.link(key)

    def link(self, key: str) -> str:
        """A link to it, whether it is there or not."""
        return asyncio.run(self.library.link(key, self.ledger.url)).url

    def get(self, url: str, **headers: str) -> httpx.Response:
        """Follow a link, without any key."""
        return self.ledger.nobody.http.get(url, headers=headers)


@pytest.fixture(scope="module")
def shelf(ledger: LiveLedger) -> Shelf:
    """Of the shared ledger."""
    return Shelf(ledger)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("film.mp4", "video/mp4"),
        ("still.jpeg", "image/jpeg"),
        ("still.png", "image/png"),
        ("page.html", "application/octet-stream"),
    ],
)
def test_a_file_is_served_as_what_it_is(shelf: Shelf, name: str, media_type: str) -> None:
    """Whole, under its type and name; no browser makes anything else of it."""
    answer = shelf.get(shelf.put(f"gen_types/{name}"))
    assert (answer.status_code, answer.content) == (200, FILM)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == f'inline; filename="{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"


LAST = len(FILM) - 1
PARTS = {
    "bytes=0-0": (0, 0),
    "bytes=0-": (0, LAST),
    "bytes=262143-262145": (262_143, 262_145),
    "bytes=100-9999999": (100, LAST),
    "bytes=-100": (LAST - 99, LAST),
    "bytes=-9999999": (0, LAST),
}


@pytest.mark.parametrize("asked", PARTS)
def test_a_player_gets_the_part_that_it_asks_for(shelf: Shelf, asked: str) -> None:
    """206 with just these bytes, also when they are all of them: players probe before they play."""
    first, last = PARTS[asked]
    answer = shelf.get(shelf.put("gen_parts/film.mp4"), Range=asked)
    assert answer.status_code == 206
    assert answer.content == FILM[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(FILM)}"


@pytest.mark.parametrize("asked", [f"bytes={len(FILM)}-", "bytes=999999-1999999", "bytes=-0"])
def test_a_part_beyond_the_end_is_none(shelf: Shelf, asked: str) -> None:
    """416, with the file's size."""
    answer = shelf.get(shelf.put("gen_parts/film.mp4"), Range=asked)
    assert expect(416, answer)["code"] == "range_not_satisfiable"
    assert answer.headers["content-range"] == f"bytes */{len(FILM)}"


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=-", "bytes=0-1,5-6", "films=0-1", "bytes=x-"]
)
def test_a_range_that_makes_no_sense_is_passed_over(shelf: Shelf, asked: str) -> None:
    """The whole file, as if it had not been asked for; so are several parts at once."""
    url = shelf.put("gen_parts/film.mp4")
    answer = shelf.get(url, Range=asked)
    assert (answer.status_code, answer.content) == (200, FILM)
    assert shelf.get(url, **{"Range": "bytes=0-9", "If-Range": '"another"'}).content == FILM


def test_a_head_tells_what_a_get_would(shelf: Shelf) -> None:
    """Size and type without the file, also of a part; and whether there is one."""
    url = shelf.put("gen_head/film.mp4")
    whole = shelf.ledger.nobody.http.head(url)
    assert (whole.status_code, whole.content) == (200, b"")
    assert whole.headers["content-length"] == str(len(FILM))
    part = shelf.ledger.nobody.http.head(url, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")
    assert shelf.ledger.nobody.http.head(shelf.link("gen_head/none.mp4")).status_code == 404
    # The connection is good for what comes next.
    assert shelf.get(url).content == FILM


def test_only_a_link_of_ours_opens_a_file_and_only_for_a_while(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forged, foreign, changed or expired link looks like one to nothing."""
    url = shelf.put("gen_links/film.mp4")
    other = shelf.put("gen_links/other.mp4")
    query = urlsplit(url).query
    wrong = [
        url.replace("film.mp4", "other.mp4"),
        url.replace("gen_links", "gen_links%2F..%2Fgen_links"),
        url.replace("expires=", "expires=1"),
        f"{url[:-1]}{(int(url[-1], 16) + 1) % 16:x}",
        f"{shelf.ledger.url}/v1/media/..%2F..%2Fkeys.json/x?{query}",
        shelf.link("gen_links/none.mp4"),
    ]
    monkeypatch.setattr(library, "LINK_LIFE", timedelta(seconds=-1))
    wrong.append(shelf.link("gen_links/film.mp4"))
    for link in wrong:
        answer = shelf.get(link)
        assert expect(404, answer)["code"] == "not_found", link
    assert [shelf.get(link).status_code for link in (url, other)] == [200, 200]


def test_who_leaves_and_what_is_removed_meanwhile_end_the_sending(shelf: Shelf) -> None:
    """A reader that goes away disturbs nobody; a file that goes away is cut, and not whole."""
    large = b"a boat " * 10_000_000
    url = shelf.put("gen_large/film.mp4", large)
    http = shelf.ledger.nobody.http
    with http.stream("GET", url) as answer:
        next(answer.iter_raw(1_000))
    with http.stream("GET", url) as answer:
        (shelf.folder / "gen_large/film.mp4").unlink()
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    assert shelf.get(url).status_code == 404
