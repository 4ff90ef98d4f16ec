"""Thumbnails: real decoders in a process of their own, and what hostile files do to it."""

from __future__ import annotations

import asyncio
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest

from contracts.jobs import Asset, Thumbnail
from contracts.media import MP4, PNG, WAV, sniff
from job_worker import thumbnails
from job_worker.downloads import MediaHosts
from job_worker.errors import BadSettings
from job_worker.media import MediaStore
from job_worker.settings import read_settings
from job_worker.thumbnails import Thumbnailer
from tests.fixtures.serving import QuietHandler, serving

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[2] / "deploy" / "emulators" / "fal" / "fixtures"
NEEDED = {
    "LEDGER_URL": "http://127.0.0.1:1",
    "LEDGER_WORK_KEY": "x",
    "VALKEY_URL": "redis://127.0.0.1:1/0",
    "FAL_KEY": "x",
    "STORAGE_URL": "file:///tmp",
}


def copied(folder: Path, content: bytes, output: str) -> Asset:
    """A copy of this file by a worker that makes thumbnails."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.reply(200, content)

    async def copy(host: str) -> Asset:
        store = MediaStore(f"file://{folder}", MediaHosts((host,)), Thumbnailer())
        try:
            return await store.copy(f"http://{host}/x", "gen_1/att_1", output)
        finally:
            await store.close()

    with serving(Handler) as host:
        return asyncio.run(copy(host))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("landscape-4s.mp4", (320, 180)),
        ("portrait-4s.mp4", (180, 320)),
        ("still.png", (320, 240)),
        ("still.jpeg", (320, 240)),
    ],
)
def test_a_result_has_a_small_picture_beside_it(
    tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    """A JPEG of at most 320 pixels' width that shows what the result shows, not a black frame; and
    the result itself is stored as it was."""
    content = (FIXTURES / name).read_bytes()
    asset = copied(tmp_path, content, "video" if name.endswith("mp4") else "image")
    assert (tmp_path / asset.key).read_bytes() == content
    still = asset.thumbnail
    assert isinstance(still, Thumbnail)
    assert asset.keys == (asset.key, still.key)
    assert still.key.startswith("gen_1/att_1-")
    stored = (tmp_path / still.key).read_bytes()
    assert (still.content_type, still.size_bytes) == ("image/jpeg", len(stored))
    assert (still.width, still.height) == size
    with av.open(io.BytesIO(stored), "r", format="jpeg_pipe") as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == size
    luma = bytes(frame.reformat(format="gray").planes[0])
    assert max(luma) - min(luma) > 50


def test_an_asset_without_one_reads_and_writes_as_before() -> None:
    """What was stored before there were thumbnails keeps its bytes, and its only file."""
    stored = (
        b'{"key":"a/b","content_type":"video/mp4","size_bytes":9,"sha256":"' + b"0" * 64
        + b'","duration_seconds":null,"width":null,"height":null}'
    )  # fmt: skip
    asset = msgspec.json.decode(stored, type=Asset)
    assert asset.keys == ("a/b",)
    assert msgspec.json.encode(asset) == stored


def png(width: int, height: int, lines: bytes) -> bytes:
    """A picture that says it has this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


FILM = (FIXTURES / "landscape-4s.mp4").read_bytes()
HOSTILE = {
    "a bomb": (png(30_000, 30_000, bytes(10_000_000)), "image"),
    "an empty picture": (png(8, 8, b"")[:60], "image"),
    "a film of noise": (FILM.replace(b"avc1", b"xxxx"), "video"),
    "a film without a picture": (FILM.replace(b"vide", b"soun"), "video"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_cannot_be_shown_is_a_result_all_the_same(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever happens to the decoder happens to nobody else: there is no thumbnail, no more."""
    content, output = HOSTILE[case]
    asset = copied(tmp_path, content, output)
    assert asset.thumbnail is msgspec.UNSET
    assert "no thumbnail" in caplog.text
    assert [path.name for path in (tmp_path / "gen_1").iterdir()] == [asset.key[6:]]


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    """A file is read as what its first bytes say, never as a list of other files."""
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{FIXTURES}/landscape-4s.mp4\n".encode()
    assert sniff(playlist) is None
    for media_type in (MP4, PNG):
        assert asyncio.run(made_of(tmp_path, playlist, media_type)) is None


async def made_of(folder: Path, content: bytes, media_type: Any) -> bytes | None:
    """The still of a file that is said to be of a type."""
    path = folder / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        return await Thumbnailer().make(file, media_type)


def test_a_decoder_that_hangs_or_cannot_start_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for no longer than a result may be held up, and killed."""
    hanging = tmp_path / "hanging.py"
    hanging.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(thumbnails, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(thumbnails, "_PROGRAM", hanging)
    assert asyncio.run(made_of(tmp_path, FILM, MP4)) is None
    monkeypatch.setattr(thumbnails, "_PROGRAM", tmp_path / "nobody-wrote-this.py")
    assert asyncio.run(made_of(tmp_path, FILM, MP4)) is None
    assert asyncio.run(made_of(tmp_path, FILM, WAV)) is None


def test_a_decoder_that_talks_too_much_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it prints is bounded, and only a whole picture counts. It is told no secret."""
    talking = tmp_path / "talking.py"
    monkeypatch.setattr(thumbnails, "_PROGRAM", talking)
    monkeypatch.setenv("FAL_KEY", "a-secret")
    for said in ("b'x' * 10**8", "b'half a picture'", "b''"):
        talking.write_text(f"import sys\nsys.stdout.buffer.write({said})\n")
        assert asyncio.run(made_of(tmp_path, FILM, MP4)) is None
    talking.write_text(
        "import os, sys\nsys.stdout.buffer.write(repr(dict(os.environ)).encode() + b'\\xff\\xd9')\n"
    )
    told = asyncio.run(made_of(tmp_path, FILM, MP4))
    assert told is not None
    assert b"a-secret" not in told


def test_thumbnails_are_wanted_only_where_they_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off unless asked for; asked for without the extra, the worker says what is missing."""
    assert read_settings(NEEDED).thumbnails is False
    assert read_settings({**NEEDED, "THUMBNAILS": "1"}).thumbnails is True
    monkeypatch.setitem(sys.modules, "av", None)
    assert read_settings({**NEEDED, "THUMBNAILS": "0"}).thumbnails is False
    with pytest.raises(BadSettings, match="the extra `thumbnails`"):
        read_settings({**NEEDED, "THUMBNAILS": "1"})
