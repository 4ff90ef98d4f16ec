"""Files that inputs name: fetched or decoded, and refused as fal's models refuse them."""

from __future__ import annotations

import base64
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.emulators.fal import inputs
from tests.fixtures.fal_emulator import IMAGE, Emulator, running

I2V = "fal-ai/veo3.1/lite/image-to-video"
SAMPLES = Path(inputs.__file__).parent / "fixtures"
JPEG, PNG = (SAMPLES / f"still.{kind}" for kind in ("jpeg", "png"))
FILM = SAMPLES / "landscape-4s.mp4"


def png(width: int, height: int) -> bytes:
    """The head and the end of a PNG of this size."""
    head = struct.pack(">I4sIIBBBBBI", 13, b"IHDR", width, height, 8, 2, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I4sI", 0, b"IEND", 0)


def webp(kind: bytes, rest: bytes) -> bytes:
    """A WebP file with one chunk."""
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + rest


GOOD = {
    "png": PNG.read_bytes(),
    "jpeg": JPEG.read_bytes(),
    "gif": b"GIF89a" + struct.pack("<HH", 64, 64),
    "webp, extended": webp(b"VP8X", bytes(4) + b"\xff\0\0\xff\0\0"),
    "webp, lossy": webp(b"VP8 ", bytes(6) + struct.pack("<HH", 100, 100)),
    "webp, lossless": webp(b"VP8L", b"\x2f" + struct.pack("<I", 99 | 99 << 14)),
    "avif": bytes(4) + b"ftypavif" + bytes(100),
}
BAD = {
    "nothing": (b"", "image_load_error"),
    "words": (b"this is not an image", "image_load_error"),
    "half a png": (PNG.read_bytes()[:-99], "image_load_error"),
    "half a jpeg": (JPEG.read_bytes()[:-99], "image_load_error"),
    "the head of a png": (png(64, 64)[:20], "image_load_error"),
    "a bitmap": (b"BM" + bytes(100), "unsupported_image_format"),
    "a film": (FILM.read_bytes(), "unsupported_image_format"),
    "small": (png(63, 600), "image_too_small"),
    "wide": (png(16_385, 600), "image_too_large"),
}


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider as it is by default: it calls addresses of this machine alone."""
    options = ("--job-seconds", "0", "--concurrency", "100")
    with running(tmp_path_factory.mktemp("fal"), *options) as emulator:
        yield emulator


def inline(content: bytes, kind: str = "image/png") -> str:
    """A data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def uploaded(fal: Emulator, content: bytes) -> str:
    """The address of a file that was brought."""
    said = {"file_name": "input", "content_type": "application/octet-stream"}
    urls = fal.http.post("/storage/upload/initiate", json=said).json()
    fal.http.put(urls["upload_url"], content=content).raise_for_status()
    return str(urls["file_url"])


def faults(answer: httpx.Response) -> list[dict[str, Any]]:
    """What is wrong, which must be all that is said, and cost nothing."""
    assert (answer.status_code, answer.headers["x-fal-billable-units"]) == (422, "0")
    (found,) = answer.json().items()
    assert found[0] == "detail"
    told: list[dict[str, Any]] = found[1]
    return told


def made(fal: Emulator, url: str, **more: Any) -> httpx.Response:
    """The result of a film of this image."""
    return fal.result(fal.submit(endpoint=I2V, image_url=url, **more))


@pytest.mark.parametrize("name", GOOD)
def test_an_image_that_a_model_can_use_is_used(fal: Emulator, name: str) -> None:
    """In the input itself, or to be fetched."""
    assert made(fal, inline(GOOD[name])).status_code == 200
    assert made(fal, uploaded(fal, GOOD[name])).status_code == 200


@pytest.mark.parametrize("name", BAD)
def test_an_image_that_it_cannot_use_is_a_422(fal: Emulator, name: str) -> None:
    """With the place of the input, the same whichever way the image came; nothing is billed."""
    content, error_type = BAD[name]
    for url in (inline(content), uploaded(fal, content)):
        job = fal.submit(endpoint=I2V, image_url=url)
        (fault,) = faults(fal.result(job))
        assert (fault["type"], fault["loc"]) == (error_type, ["body", "image_url"])
        assert fal.completed(job)["error_type"] == error_type


@pytest.mark.parametrize(
    ("name", "content", "error_type"),
    [
        ("video_url", FILM.read_bytes(), None),
        ("video_url", PNG.read_bytes(), "unsupported_video_format"),
        ("audio_url", b"ID3" + bytes(9), None),
        ("audio_url", PNG.read_bytes(), "unsupported_audio_format"),
        ("reference_image_urls", b"words", "image_load_error"),
        ("mask_url", b"words", "image_load_error"),
        ("anything_url", b"words", None),
    ],
)
def test_a_model_that_is_not_known_here_has_its_files_looked_at_too(
    fal: Emulator, name: str, content: bytes, error_type: str | None
) -> None:
    """By the names of its inputs: `…_url`, and lists `…_urls`, at any depth."""
    url = uploaded(fal, content)
    given: Any = [url] if name.endswith("s") else url
    answer = fal.result(fal.submit(endpoint="a/b", elements=[{name: given}]))
    if error_type is None:
        assert answer.status_code == 200
    else:
        (fault,) = faults(answer)
        place = ["body", "elements", 0, name, *([0] if name.endswith("s") else [])]
        assert (fault["type"], fault["loc"]) == (error_type, place)


def test_what_cannot_be_fetched_is_a_422(fal: Emulator) -> None:
    """Nobody there, nothing there, or not what an address is; each input is told of."""
    (fault,) = faults(made(fal, f"{fal.url}/uploads/nobody/here.png"))
    assert fault["type"] == "file_download_error"
    (fault,) = faults(made(fal, "http://127.0.0.1:1/boat.png"))
    assert fault["type"] == "file_download_error"
    (fault,) = faults(made(fal, "data:image/png;base64,%%%"))
    assert fault["type"] == "image_load_error"
    two = fal.submit(endpoint="a/b", image_url=inline(b"x"), mask_url="http://localhost:1/")
    assert [fault["loc"][1] for fault in faults(fal.result(two))] == ["image_url", "mask_url"]


def test_a_file_that_is_too_large_is_not_read_to_its_end(fal: Emulator) -> None:
    """The bound is named."""
    (fault,) = faults(made(fal, uploaded(fal, bytes(inputs.MAX_INPUT_BYTES + 1))))
    assert fault["type"] == "file_too_large"
    assert fault["ctx"] == {"max_size": inputs.MAX_INPUT_BYTES}


def test_other_machines_are_believed_by_default(fal: Emulator, tmp_path: Path) -> None:
    """Nobody is called, so it works offline; `all` calls everybody, `none` not even itself."""
    elsewhere = f"http://0.0.0.0:{httpx.URL(fal.url).port}/nothing.png"
    assert made(fal, elsewhere).status_code == 200
    with running(tmp_path / "all", "--job-seconds", "0", "--fetch-inputs", "all") as everybody:
        (fault,) = faults(made(everybody, elsewhere))
        assert fault["type"] == "file_download_error"
    with running(tmp_path / "none", "--job-seconds", "0", "--fetch-inputs", "none") as nobody:
        for url in (f"{nobody.url}/nothing.png", inline(b"not an image")):
            assert made(nobody, url).status_code == 200


def test_a_job_whose_files_are_unread_survives_a_kill(tmp_path: Path) -> None:
    """It does not end before they are read, and they are read by the next process."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/boat.png"
        with running(tmp_path, "--job-seconds", "0") as fal:
            job = fal.submit(endpoint=I2V, image_url=url)
            assert fal.http.get(job["status_url"]).json()["status"] == "IN_PROGRESS"
            fal.stop(signal.SIGKILL)
            silent.close()
            fal.start()
            path = httpx.URL(job["response_url"]).path
            assert fal.completed({"status_url": f"{path}/status"})["error_type"]
            assert faults(fal.http.get(path))[0]["type"] == "file_download_error"


def test_a_picture_may_be_asked_for_inline(fal: Emulator) -> None:
    """`sync_mode` puts it into the result, which then is kept nowhere else."""
    job = fal.submit("inline", endpoint=IMAGE, sync_mode=True, output_format="png")
    (image,) = fal.result(job).json()["images"]
    head, _, content = image["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content).startswith(b"\x89PNG")
    query = {"endpoint_id": IMAGE, "expand": "payloads"}
    listed = fal.http.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
    (item,) = [item for item in listed if item["request_id"] == job["request_id"]]
    assert item["json_output"] is None
