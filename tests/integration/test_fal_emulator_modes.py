"""Every further misbehaviour of the emulator, as a client meets it on the wire."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from deploy.emulators.fal.assumptions import parse
from deploy.emulators.fal.errors import CATALOGUE, SUBMIT_REFUSALS
from tests.fixtures.fal_emulator import IMAGE, VIDEO, Emulator, running


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider whose jobs end at once, unless they are asked to misbehave."""
    options = ("--job-seconds", "0", "--concurrency", "100")
    with running(tmp_path_factory.mktemp("fal"), *options) as emulator:
        yield emulator


# --- submits -------------------------------------------------------------------------------------


def test_a_dropped_submit_looks_like_a_lost_one_but_made_no_job(fal: Emulator) -> None:
    """The connection is cut as often as asked for; nothing was accepted before the last try."""
    prompt = "[[fal:drop-submit=1]]"
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        fal.post(prompt)
    assert fal.accepted(prompt) == []
    assert fal.post(prompt).status_code == 200
    assert len(fal.accepted(prompt)) == 1


@pytest.mark.parametrize("status", sorted(SUBMIT_REFUSALS))
def test_a_refusal_comes_as_the_real_one_does(fal: Emulator, status: str) -> None:
    """Gateways send pages, the platform sends JSON; a 429 says when to come back."""
    answer = fal.post(f"[[fal:submit-{status}]]")
    assert answer.status_code == int(status)
    if status in {"502", "503", "504"}:
        assert answer.headers["content-type"].startswith("text/html")
        assert "<center>nginx</center>" in answer.text
    else:
        assert answer.json()["detail"]
    assert ("retry-after" in answer.headers) is (status == "429")


# --- how a run fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("list", {"detail": list}),
        ("flat", {"detail": str, "error_type": str}),
        ("string", {"detail": str}),
    ],
)
@pytest.mark.parametrize("error_type", ["internal_error", "content_policy_violation"])
def test_an_error_takes_the_shape_asked_for(
    fal: Emulator, shape: str, body: dict[str, type], error_type: str
) -> None:
    """Any error as a list, as flat text with a type, or as text alone; the status is its own."""
    answer = fal.result(fal.submit(f"[[fal:fail-body={shape}]] [[fal:fail={error_type}]]"))
    assert answer.status_code == CATALOGUE[error_type].status_code
    assert {name: type(value) for name, value in answer.json().items()} == body
    assert ("x-fal-error-type" in answer.headers) is (shape != "string")


def test_an_error_may_be_a_gateways_page(fal: Emulator) -> None:
    """`fail-body=page`: a 502 that is no JSON."""
    answer = fal.result(fal.submit("[[fal:fail-body=page]]"))
    assert (answer.status_code, answer.headers["content-type"][:9]) == (502, "text/html")


@pytest.mark.parametrize(
    ("word", "headers"),
    [
        ("true", {"x-fal-retryable": "true", "x-fal-needs-retry": "1"}),
        ("false", {"x-fal-retryable": "false"}),
        ("absent", {}),
    ],
)
def test_the_retry_headers_say_what_was_asked_for(
    fal: Emulator, word: str, headers: dict[str, str]
) -> None:
    """True, false or absent, against the error's own nature."""
    answer = fal.result(fal.submit(f"[[fal:retryable={word}]] [[fal:422]]"))
    found = {name: answer.headers.get(name) for name in ("x-fal-retryable", "x-fal-needs-retry")}
    assert {name: value for name, value in found.items() if value is not None} == headers


def test_a_status_may_keep_an_error_to_itself(fal: Emulator) -> None:
    """`quiet-status`: COMPLETED without a word, and a result that is a 500."""
    job = fal.submit("[[fal:quiet-status]]")
    status = fal.completed(job)
    assert status["status"] == "COMPLETED"
    assert {"error", "error_type"}.isdisjoint(status)
    assert fal.result(job).status_code == 500


# --- answers that stumble ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "status_code"), [("404", 404), ("500", 500), ("502", 502)])
def test_a_status_may_stumble(fal: Emulator, name: str, status_code: int) -> None:
    """So many times the status is an error; then it is what it should have been."""
    job = fal.submit(f"[[fal:status-{name}=2]]")
    codes = [fal.http.get(job["status_url"]).status_code for _ in range(3)]
    assert codes == [status_code, status_code, 200]


def test_a_result_may_stumble_in_several_ways(fal: Emulator) -> None:
    """A page, half a document, and then the whole of it."""
    job = fal.submit("[[fal:result-502]] [[fal:half-result]]")
    answers = [fal.http.get(job["response_url"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [502, 200, 200]
    assert answers[2].content.startswith(answers[1].content)
    assert len(answers[1].content) == len(answers[2].content) // 2
    assert answers[2].json()["video"]["url"]


def test_a_big_result_is_a_result(fal: Emulator) -> None:
    """It only weighs more than 10 KB."""
    answer = fal.result(fal.submit("[[fal:big-result]]"))
    assert len(answer.content) > 10_000
    assert answer.json()["video"]["url"]


# --- what nobody knows ---------------------------------------------------------------------------


def test_a_refused_prompt_may_be_locked_out_at_the_door(tmp_path: Path) -> None:
    """`--assume moderation=locked`: the words of an empty balance, and no job."""
    with running(tmp_path, "--assume", "moderation=locked") as fal:
        refused = fal.post("[[fal:422]]")
        assert (refused.status_code, "User is locked" in refused.text) == (403, True)
        assert fal.accepted("[[fal:422]]") == []
        assert fal.http.get("/admin/state").json()["assumptions"]["moderation"] == "locked"
        assert fal.post("a sunset").status_code == 200


@pytest.mark.parametrize("text", ["moderation", "moderation=odd", "weather=fine", ""])
def test_an_assumption_must_be_one_of_those_that_are_open(text: str) -> None:
    """Else a test of another answer would quietly be one of the usual answer."""
    with pytest.raises(ValueError, match=r"not NAME=CHOICE|Invalid enum value"):
        parse([text])


# --- media ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_flagged_picture_is_black(fal: Emulator, kind: str) -> None:
    """`nsfw` is a success to the provider: a 200, billed, flagged, and nothing to be seen."""
    job = fal.submit("[[fal:nsfw]]", endpoint=IMAGE, num_images=2, output_format=kind)
    answer = fal.result(job)
    assert answer.headers["x-fal-billable-units"] == "2"
    assert answer.json()["has_nsfw_concepts"] == [True, True]
    for image in answer.json()["images"]:
        with av.open(io.BytesIO(fal.http.get(image["url"]).content), "r") as container:
            (frame,) = container.decode(video=0)
        assert max(bytes(frame.reformat(format="gray8").planes[0])) < 20


def test_a_flagged_film_is_black(fal: Emulator) -> None:
    """The same for a film: it plays, and shows nothing."""
    body = fal.generate("[[fal:nsfw]]")
    assert body["has_nsfw_concepts"] == [True]
    content = fal.http.get(body["video"]["url"]).content
    with av.open(io.BytesIO(content), "r") as container:
        frames = list(container.decode(container.streams.video[0]))
    assert len(frames) == body["video"]["num_frames"]
    assert max(bytes(frames[0].reformat(format="gray8").planes[0])) < 20


def test_a_film_may_be_of_another_length_than_stated(fal: Emulator) -> None:
    """The result says eight seconds, the file plays four."""
    video = fal.generate("[[fal:media-wrong-length]]", duration="8s")["video"]
    content = fal.http.get(video["url"]).content
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        played = float(stream.duration * stream.time_base)
    assert (video["duration"], played) == (8, 4)


def test_media_may_be_huge(fal: Emulator) -> None:
    """It states eight gibibytes, begins like a film, and goes on."""
    url = fal.generate("[[fal:media-huge]]")["video"]["url"]
    with fal.http.stream("GET", url) as answer:
        pieces = answer.iter_bytes()
        begin = next(pieces) + next(pieces)
        assert int(answer.headers["content-length"]) == 8 * 1024**3
    assert begin[4:8] == b"ftyp"
    # Whoever has had enough just leaves, and nobody else has to wait.
    assert fal.http.get("/health").status_code == 200


def test_media_may_be_at_a_private_address(fal: Emulator) -> None:
    """The result points into somebody's own network."""
    url = fal.generate("[[fal:media-private]]")["video"]["url"]
    assert httpx.URL(url).host == "10.0.0.1"


def test_media_of_an_image_model_misbehave_alike(fal: Emulator) -> None:
    """Directives of media hold for pictures too."""
    body = fal.generate("[[fal:media-404]]", endpoint=IMAGE)
    assert fal.http.get(body["images"][0]["url"]).status_code == 404
    assert fal.http.get(fal.generate(endpoint=VIDEO)["video"]["url"]).status_code == 200


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider that draws everything in the size that was asked for."""
    options = ("--job-seconds", "0", "--concurrency", "100", "--render")
    with running(tmp_path_factory.mktemp("painter"), *options) as emulator:
        yield emulator


@pytest.mark.parametrize(
    ("endpoint", "given", "size"),
    [
        (VIDEO, {"duration": "4s"}, (1280, 720)),
        (VIDEO, {"duration": "4s", "aspect_ratio": "9:16"}, (720, 1280)),
        (VIDEO, {"duration": "4s", "resolution": "1080p", "prompt": "[[fal:nsfw]]"}, (1920, 1080)),
        (IMAGE, {"image_size": "portrait_4_3"}, (768, 1024)),
        (IMAGE, {"image_size": {"width": 201, "height": 10}, "output_format": "png"}, (200, 64)),
        ("fal-ai/nano-banana-2", {"resolution": "0.5K", "aspect_ratio": "3:2"}, (768, 512)),
    ],
)
def test_media_may_be_drawn_in_the_size_that_was_asked_for(
    painter: Emulator, endpoint: str, given: dict[str, Any], size: tuple[int, int]
) -> None:
    """`--render`: the file is what its description says, and what its input wanted."""
    body = painter.generate(**{"prompt": "a sunset", "endpoint": endpoint, **given})
    described = body["video"] if "video" in body else body["images"][0]
    content = painter.http.get(described["url"]).content
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
    assert (described["width"], described["height"]) == (stream.width, stream.height) == size
    assert len(content) == described["file_size"]
    assert len(frames) == described.get("num_frames", 1)
    dark = max(bytes(frames[0].reformat(format="gray8").planes[0])) < 20
    assert dark is ("nsfw" in str(given))


def test_drawn_media_differ_by_their_prompt(painter: Emulator) -> None:
    """Not in their marks alone: one sky is another colour than the other."""
    colours = set()
    for prompt in ("a boat", "a storm", "a night"):
        image = painter.generate(prompt, endpoint=IMAGE, image_size="square")["images"][0]
        with av.open(io.BytesIO(painter.http.get(image["url"]).content), "r") as container:
            (frame,) = container.decode(video=0)
        colours.add(bytes(frame.reformat(format="yuv420p").planes[1])[:9])
    assert len(colours) > 1
