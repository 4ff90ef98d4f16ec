"""Files from the first to the last: a picture that was uploaded, a film of it, a still of that."""

from __future__ import annotations

import io
from pathlib import Path

import av
import httpx
import pytest

from tests.fixtures.checker import check_replay
from tests.fixtures.customer import Customer
from tests.fixtures.live import expect
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow

PICTURE = (
    Path(__file__).parents[2] / "deploy" / "emulators" / "fal" / "fixtures" / "still.png"
).read_bytes()


def test_a_picture_becomes_a_film_with_a_thumbnail(stack: Stack, customer: Customer) -> None:
    """The provider is given the uploaded picture's address; the result has a still beside it,
    which goes with it, and nothing else is left over."""
    http = customer.caller.http
    uploaded = expect(201, http.post("/v1/uploads", content=PICTURE))
    body = {
        "account_id": customer.account_id,
        "model": "kling-2.6-pro-image-to-video",
        "input": {"prompt": "it sails away", "start_image_url": uploaded["url"]},
    }
    with stack.told(stack.worker, THUMBNAILS="1"):
        asked = expect(202, customer.caller.post("/v1/generations", body))["generation"]
        path = f"/v1/generations/{asked['generation_id']}"
        eventually(lambda: http.get(path).json()["result"] is not None, "the film")
    shown = expect(200, http.get(path))
    still = httpx.get(shown["result"]["thumbnail_url"], trust_env=False).content
    with av.open(io.BytesIO(still), "r", format="jpeg_pipe") as container:
        frame = next(container.decode(video=0))
    assert max(frame.width, frame.height) == 320
    folder = stack.media / asked["generation_id"]
    assert len(list(folder.iterdir())) == 2
    expect(200, http.delete(path))
    eventually(lambda: not list(folder.glob("*")), "the end of both files")
    check_replay(stack)
