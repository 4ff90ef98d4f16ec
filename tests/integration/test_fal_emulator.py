"""The fal emulator as its clients meet it: a real process, spoken to over real HTTP."""

from __future__ import annotations

import base64
import io
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.emulators.fal.errors import CATALOGUE
from tests.fixtures.fal_emulator import IMAGE, VIDEO, Emulator, eventually, running


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An obliging provider: any key, short jobs, many at once, webhooks to this machine."""
    options = ("--job-seconds", "0.02", "--concurrency", "100", "--allow-loopback-webhooks")
    with running(
        tmp_path_factory.mktemp("fal"), *options, "--webhook-backoff-seconds", "0.1"
    ) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider with a single runner, two known keys, and no webhooks to this machine."""
    options = ("--key", "id:one", "--key", "id:two", "--concurrency", "1", "--job-seconds", "0")
    with running(tmp_path_factory.mktemp("narrow"), *options) as emulator:
        yield emulator


# ── The queue ───────────────────────────────────────────────────────────────────────────────


def test_a_submit_answers_with_urls_that_hold_owner_and_app_alone(fal: Emulator) -> None:
    """Status, result and cancel URLs use the client's host and drop the endpoint's path."""
    job = fal.submit()
    base = f"{fal.url}/fal-ai/veo3.1/requests/{job['request_id']}"
    assert job["status_url"] == f"{base}/status"
    assert job["response_url"] == base
    assert job["cancel_url"] == f"{base}/cancel"
    assert job["status"] == "IN_QUEUE"
    assert job["queue_position"] == 0
    assert job["logs"] is None


def test_urls_with_the_full_path_and_the_response_suffix_work_too(fal: Emulator) -> None:
    """Clients build URLs in several ways; all of them find the request."""
    job = fal.submit()
    fal.completed(job)
    for path in ("fal-ai/veo3.1", VIDEO):
        for suffix in ("", "/response", "/status"):
            url = f"/{path}/requests/{job['request_id']}{suffix}"
            assert fal.http.get(url).status_code == 200, url


def test_a_workflow_keeps_its_prefix_in_its_urls(fal: Emulator) -> None:
    """`workflows/owner/app` is one app, not owner `workflows`."""
    job = fal.submit(endpoint="workflows/me/my-flow")
    assert "/workflows/me/my-flow/requests/" in job["status_url"]
    assert fal.completed(job)["status"] == "COMPLETED"


def test_status_is_202_until_completion_and_200_after(fal: Emulator) -> None:
    """The status code tells completion; queue_position and logs are always there."""
    job = fal.submit("[[fal:slow=1]]")
    early = fal.http.get(job["status_url"])
    assert (early.status_code, early.json()["status"]) == (202, "IN_PROGRESS")
    late = fal.completed(job)
    assert late["status"] == "COMPLETED"
    assert late["metrics"]["inference_time"] >= 1
    assert "error" not in late
    for body in (early.json(), late):
        assert body["queue_position"] == 0
        assert body["logs"] is None


@pytest.mark.parametrize("wanted", ["1", "true"])
def test_logs_are_given_when_asked_for_and_grow(fal: Emulator, wanted: str) -> None:
    """Every log entry has a message, a level, a source and a timestamp."""
    job = fal.submit("[[fal:slow=1]]")
    early = fal.http.get(job["status_url"], params={"logs": wanted}).json()["logs"]
    fal.completed(job)
    late = fal.http.get(job["status_url"], params={"logs": wanted}).json()["logs"]
    assert len(early) < len(late)
    assert set(late[0]) == {"message", "level", "source", "timestamp"}


def test_the_stream_tells_every_status_and_ends_with_the_last(fal: Emulator) -> None:
    """Server-sent events, closed by the server once the job has completed."""
    job = fal.submit("[[fal:slow=1]]")
    answer = fal.http.get(f"{job['status_url']}/stream")
    events = [line for line in answer.text.split("\n\n") if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert '"IN_PROGRESS"' in events[0]
    assert '"COMPLETED"' in events[-1]


def test_a_result_before_completion_is_a_400(fal: Emulator) -> None:
    """A result is not there until its job has completed."""
    job = fal.submit("[[fal:stuck]] early reader")
    answer = fal.http.get(job["response_url"])
    assert answer.status_code == 400
    assert answer.json()["error_type"] == "bad_request"


def test_every_answer_bears_a_request_id(fal: Emulator) -> None:
    """Answers about a job bear its id; all others bear one of their own."""
    job = fal.submit()
    assert fal.http.get(job["status_url"]).headers["x-fal-request-id"] == job["request_id"]
    for path in ("/health", "/nowhere", "/a/b/requests/c", "/files/a/b"):
        assert fal.http.get(path).headers["x-fal-request-id"], path


def test_an_unknown_request_or_one_of_another_app_is_not_found(fal: Emulator) -> None:
    """The app in the URL must be the request's own."""
    job = fal.submit()
    for path in ("fal-ai/veo3.1/requests/no-such", f"fal-ai/flux/requests/{job['request_id']}"):
        answer = fal.http.get(f"/{path}/status")
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})


def test_jobs_wait_for_a_free_runner_in_order_and_low_priority_waits_longest(
    narrow: Emulator,
) -> None:
    """First in, first out; `low` behind `normal`; positions fall as the queue moves."""
    blocker = narrow.submit("[[fal:stuck]] the only runner")
    low = narrow.submit("low", headers={"x-fal-queue-priority": "low"})
    normal = narrow.submit("normal")
    assert narrow.http.get(normal["status_url"]).json()["queue_position"] == 0
    waiting = narrow.http.get(low["status_url"])
    assert (waiting.status_code, waiting.json()["queue_position"]) == (202, 1)
    narrow.http.put(blocker["cancel_url"])
    narrow.completed(normal)
    assert narrow.completed(low)["queue_position"] == 0


def test_a_full_queue_refuses_a_submit_that_asks_for_that(narrow: Emulator) -> None:
    """`fal_max_queue_length` turns waiting into a 429, and nothing is accepted."""
    blocker = narrow.submit("[[fal:stuck]] blocks the queue")
    waiting = narrow.submit("waits")
    refused = narrow.post("refused", params={"fal_max_queue_length": "1"})
    assert refused.status_code == 429
    assert narrow.accepted("refused") == []
    narrow.http.put(blocker["cancel_url"])
    narrow.completed(waiting)


def test_a_job_that_starts_too_late_times_out(narrow: Emulator) -> None:
    """`X-Fal-Request-Timeout` is a deadline to start; missing it is a 504 of type user."""
    blocker = narrow.submit("[[fal:stuck]] blocks the start")
    late = narrow.submit("too late", headers={"x-fal-request-timeout": "0.2"})
    result = narrow.result(late)
    assert result.status_code == 504
    assert result.json()["error_type"] == "request_timeout"
    assert result.headers["x-fal-request-timeout-type"] == "user"
    narrow.http.put(blocker["cancel_url"])
    narrow.completed(blocker)


# ── Keys ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", [None, "", "Key", "Bearer id:one", "Key id:other"])
def test_without_a_known_key_nothing_is_answered(narrow: Emulator, header: str | None) -> None:
    """Anything but `Key <known key>` is a 401, on every kind of route."""
    headers = {} if header is None else {"authorization": header}
    with httpx.Client(base_url=narrow.url, headers=headers, trust_env=False) as stranger:
        answers = [
            stranger.post(f"/{VIDEO}", json={"prompt": "x"}),
            stranger.get("/fal-ai/veo3.1/requests/x/status"),
            stranger.put("/fal-ai/veo3.1/requests/x/cancel"),
            stranger.get("/v1/models/requests/by-endpoint", params={"endpoint_id": VIDEO}),
        ]
    assert [answer.status_code for answer in answers] == [401] * 4


def test_a_request_does_not_exist_for_another_key(narrow: Emulator) -> None:
    """Status, result, cancel and look-up know only the caller's own requests."""
    job = narrow.submit("mine")
    other = {"authorization": "Key id:two"}
    assert narrow.http.get(job["status_url"], headers=other).status_code == 404
    assert narrow.http.get(job["response_url"], headers=other).status_code == 404
    assert narrow.http.put(job["cancel_url"], headers=other).status_code == 404
    found = narrow.http.get(
        "/v1/models/requests/by-endpoint", params={"endpoint_id": VIDEO}, headers=other
    )
    assert found.json()["items"] == []


JSON = {"Content-Type": "application/json"}


# ── Inputs ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b'{"a":NaN}', b'{"a":' * 9000, b'{"p":"\xff"}']
)
def test_a_body_that_is_not_a_json_object_is_refused(fal: Emulator, body: bytes) -> None:
    """A 422 with fal's list of details, and nothing is accepted."""
    answer = fal.http.post(f"/{VIDEO}", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "json_invalid"


@pytest.mark.parametrize("media_type", ["application/octet-stream", "text/plain", None])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(
    fal: Emulator, media_type: str | None
) -> None:
    """To a model's server such a body is bytes, whatever it would read as."""
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = fal.http.post(f"/{VIDEO}", content=b'{"prompt": "a boat"}', headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "dict_type"


def test_a_body_beyond_a_mebibyte_is_refused(fal: Emulator) -> None:
    """Memory is not the client's to fill."""
    assert fal.post("x" * (1 << 20)).status_code == 413


def test_a_misspelt_directive_is_refused(fal: Emulator) -> None:
    """Else a test of a failure would quietly become a test of success."""
    for prompt in ("[[fal:explode]]", "[[fal:slow]]", "[[fal:slow=soon]]", "[[fal:fail=bored]]"):
        assert fal.post(prompt).status_code == 422, prompt


@pytest.mark.parametrize(
    ("endpoint", "given", "error_type"),
    [
        (VIDEO, {"prompt": None}, "missing"),
        (VIDEO, {"prompt": 7}, "str_type"),
        (VIDEO, {"prompt": "x", "duration": "5s"}, "literal_error"),
        (VIDEO, {"prompt": "x", "seed": "1"}, "int_type"),
        (VIDEO, {"prompt": "x", "generate_audio": 1}, "bool_type"),
        (IMAGE, {"prompt": "x", "num_images": 0}, "greater_than_equal"),
        (IMAGE, {"prompt": "x", "num_images": 5}, "less_than_equal"),
    ],
)
def test_an_input_against_the_schema_fails_without_cost(
    fal: Emulator, endpoint: str, given: dict[str, Any], error_type: str
) -> None:
    """The queue accepts it, the model answers 422 with details, and nothing is billed."""
    job = fal.http.post(f"/{endpoint}", json=given).json()
    result = fal.result(job)
    assert result.status_code == 422
    assert [item["type"] for item in result.json()["detail"]] == [error_type]
    assert result.headers["x-fal-billable-units"] == "0"


def test_an_unknown_endpoint_accepts_anything_and_returns_a_video(fal: Emulator) -> None:
    """A new model can be tried before its schema is known here."""
    job = fal.http.post("/someone/something/new", json={"duration": 10**400, "x": [1]}).json()
    assert fal.result(job).json()["video"]["content_type"] == "video/mp4"


# ── Media ───────────────────────────────────────────────────────────────────────────────────


def boxes(content: bytes) -> dict[str, bytes]:
    """The top-level boxes of an MP4 (ISO/IEC 14496-12): type → payload."""
    found, at = {}, 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        found[kind.decode()] = content[at + 8 : at + size]
        at += size
    assert at == len(content)
    return found


@pytest.mark.parametrize(
    ("duration", "aspect_ratio", "size"), [("4s", "16:9", (320, 180)), ("8s", "9:16", (180, 320))]
)
def test_a_video_plays_and_is_what_the_result_says(
    fal: Emulator, duration: str, aspect_ratio: str, size: tuple[int, int]
) -> None:
    """Every frame decodes; dimensions, length and size in bytes are true."""
    video = fal.generate(duration=duration, aspect_ratio=aspect_ratio)["video"]
    content = fal.http.get(video["url"]).content
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == size == (video["width"], video["height"])
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == video["duration"]
    assert frames == video["num_frames"]
    assert f"{video['duration']:.0f}s" == duration
    assert len(content) == video["file_size"]


def test_no_two_videos_have_the_same_bytes(fal: Emulator) -> None:
    """The last box of a file is a `free` box that holds the request id."""
    jobs = [fal.submit("twins"), fal.submit("twins")]
    contents = [fal.http.get(fal.result(job).json()["video"]["url"]).content for job in jobs]
    assert contents[0] != contents[1]
    for job, content in zip(jobs, contents, strict=True):
        found = boxes(content)
        assert list(found)[:2] == ["ftyp", "moov"]
        assert found["free"].decode() == job["request_id"]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_images_decode_and_differ(fal: Emulator, kind: str) -> None:
    """As many images as asked for, each readable, each unique, billed by the piece."""
    job = fal.submit(endpoint=IMAGE, num_images=3, output_format=kind)
    answer = fal.result(job)
    images = answer.json()["images"]
    contents = {fal.http.get(image["url"]).content for image in images}
    assert len(contents) == 3
    assert answer.headers["x-fal-billable-units"] == "3"
    for content in contents:
        with av.open(io.BytesIO(content), "r") as container:
            (frame,) = container.decode(video=0)
        assert (frame.width, frame.height) == (images[0]["width"], images[0]["height"])
    assert {image["content_type"] for image in images} == {f"image/{kind}"}


def test_media_is_public_and_served_by_range(fal: Emulator) -> None:
    """GET and HEAD without a key; 206 for a part, 416 beyond the end, the whole for nonsense."""
    url = fal.generate()["video"]["url"]
    whole = httpx.get(url, trust_env=False)
    size = len(whole.content)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["last-modified"].endswith("GMT")
    head = httpx.head(url, trust_env=False)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == size
    for asked, part in {
        "bytes=0-9": slice(0, 10),
        "bytes=10-": slice(10, None),
        "bytes=-5": slice(-5, None),
        f"bytes=5-{size * 2}": slice(5, None),
    }.items():
        answer = fal.http.get(url, headers={"range": asked})
        assert answer.status_code == 206, asked
        assert answer.content == whole.content[part], asked
        assert answer.headers["content-range"].endswith(f"/{size}")
    beyond = fal.http.get(url, headers={"range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for nonsense in ("bytes=-", "bytes=9-1", "lines=1-2", "bytes=0-1,4-5"):
        assert fal.http.get(url, headers={"range": nonsense}).status_code == 200, nonsense


def test_media_disappears_when_its_submit_said_so(fal: Emulator) -> None:
    """The lifecycle header sets the file's life; the result still names it."""
    life = {"x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": 1}'}
    url = fal.generate(headers=life)["video"]["url"]
    assert fal.http.get(url).status_code == 200
    eventually(lambda: fal.http.get(url).status_code == 404)


def test_no_media_exists_before_success(fal: Emulator) -> None:
    """A URL that was guessed early, or belongs to a failed job, is a 404."""
    stuck = fal.submit("[[fal:stuck]] no file yet")
    failed = fal.submit("[[fal:fail]] no file ever")
    fal.completed(failed)
    for job in (stuck, failed):
        assert fal.http.get(f"/files/{job['request_id']}/output.mp4").status_code == 404


# ── Money, and what really happened ─────────────────────────────────────────────────────────


def test_two_equal_submits_are_two_jobs_and_both_are_billed(fal: Emulator) -> None:
    """No idempotency, as at fal: the admin list shows the double submit, with its tags."""
    headers = {"x-fal-tags": "generation=gen_1, attempt=att_1", "x-fal-store-io": "1"}
    jobs = [fal.submit("submitted twice", headers=headers) for _ in range(2)]
    for job in jobs:
        assert fal.result(job).headers["x-fal-billable-units"] == "8"
    items = fal.accepted("submitted twice")
    assert {item["request_id"] for item in items} == {job["request_id"] for job in jobs}
    for item in items:
        assert item["tags"] == {"generation": "gen_1", "attempt": "att_1"}
        assert item["headers"]["x-fal-store-io"] == "1"
        assert item["billed"]
        assert item["answered"]
        assert item["endpoint"] == VIDEO


def test_a_lost_submit_is_found_again_by_its_seed(fal: Emulator) -> None:
    """The platform API lists the caller's own submits with inputs, outputs and tags."""
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    with pytest.raises(httpx.ReadTimeout):
        fal.http.post(
            f"/{VIDEO}",
            json={"prompt": "[[fal:lost-submit]]", "seed": 4242},
            headers={"x-fal-tags": "attempt=att_lost"},
            timeout=0.5,
        )
    query = {"endpoint_id": VIDEO, "start": began, "expand": "payloads"}

    def find() -> dict[str, Any]:
        items = fal.http.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
        (item,) = (item for item in items if item["json_input"].get("seed") == 4242)
        return dict(item)

    eventually(lambda: find()["ended_at"])
    item = find()
    assert item["status_code"] == 200
    assert item["sent_at"] < item["ended_at"]
    assert item["tags"] == {"attempt": "att_lost"}
    assert httpx.get(item["json_output"]["video"]["url"], trust_env=False).status_code == 200
    (accepted,) = fal.accepted("[[fal:lost-submit]]")
    assert accepted["request_id"] == item["request_id"]
    assert accepted["billed"]
    assert not accepted["answered"]


def test_the_lookup_is_bounded_by_time_and_paged(fal: Emulator) -> None:
    """`start` and `end` bound it, `limit` and `cursor` page it, newest first."""
    endpoint = "someone/paged"
    jobs = [fal.submit(endpoint=endpoint)["request_id"] for _ in range(3)]
    url, query = "/v1/models/requests/by-endpoint", {"endpoint_id": endpoint, "limit": "2"}
    first = fal.http.get(url, params=query).json()
    rest = fal.http.get(url, params={**query, "cursor": first["next_cursor"]}).json()
    assert [item["request_id"] for item in first["items"] + rest["items"]] == jobs[::-1]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    assert "json_input" not in first["items"][0]
    past = fal.http.get(url, params={**query, "end": "2020-01-01T00:00:00Z"}).json()
    assert past["items"] == []
    assert fal.http.get(url, params={**query, "start": "yesterday"}).status_code == 400
    assert fal.http.get(url).status_code == 400


def test_payloads_are_not_kept_when_the_submit_forbade_it(fal: Emulator) -> None:
    """`X-Fal-Store-IO: 0` leaves the look-up without input and output."""
    fal.generate(endpoint="someone/private", headers={"x-fal-store-io": "0"})
    query = {"endpoint_id": "someone/private", "expand": "payloads"}
    (item,) = fal.http.get("/v1/models/requests/by-endpoint", params=query).json()["items"]
    assert (item["json_input"], item["json_output"]) == (None, None)


# ── A submit that goes wrong ────────────────────────────────────────────────────────────────


def test_a_reset_submit_is_accepted_and_its_connection_cut(fal: Emulator) -> None:
    """The client cannot know, the provider runs and bills the job."""
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        fal.post("[[fal:reset-submit]]")
    eventually(lambda: fal.accepted("[[fal:reset-submit]]")[0]["billed"])
    assert not fal.accepted("[[fal:reset-submit]]")[0]["answered"]


def test_half_an_answer_is_not_json(fal: Emulator) -> None:
    """A 200 whose document breaks off."""
    answer = fal.post("[[fal:half-submit]]")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


def test_an_answer_may_come_without_urls(fal: Emulator) -> None:
    """The request id alone."""
    assert set(fal.submit("[[fal:no-urls]]")) == {"request_id"}


def test_a_slow_answer_counts_as_answered_only_if_somebody_waited(fal: Emulator) -> None:
    """The patient client gets it; the impatient one's job is unanswered."""
    assert fal.submit("[[fal:slow-submit=0.3]] patient")["request_id"]
    with pytest.raises(httpx.ReadTimeout):
        fal.http.post(f"/{VIDEO}", json={"prompt": "[[fal:slow-submit=5]]"}, timeout=0.2)
    assert fal.accepted("[[fal:slow-submit=0.3]] patient")[0]["answered"]
    assert not fal.accepted("[[fal:slow-submit=5]]")[0]["answered"]


@pytest.mark.parametrize("status_code", [401, 403, 422, 429, 500, 502, 503])
def test_a_refused_submit_is_not_accepted(fal: Emulator, status_code: int) -> None:
    """The status asked for, time after time, and no job."""
    prompt = f"[[fal:submit-{status_code}]]"
    assert [fal.post(prompt).status_code for _ in range(2)] == [status_code] * 2
    assert fal.accepted(prompt) == []


def test_a_submit_can_be_refused_a_few_times_and_then_accepted(fal: Emulator) -> None:
    """`=COUNT` bounds the refusals, as a provider recovers."""
    prompt = "[[fal:submit-429=2]]"
    assert [fal.post(prompt).status_code for _ in range(3)] == [429, 429, 200]
    assert len(fal.accepted(prompt)) == 1


# ── A run that goes wrong ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error_type", sorted(CATALOGUE))
def test_every_error_comes_in_its_own_shape(fal: Emulator, error_type: str) -> None:
    """COMPLETED with error and error_type; model errors are lists, platform errors are flat."""
    kind = CATALOGUE[error_type]
    job = fal.submit(f"[[fal:fail={error_type}]] [[fal:slow=0]]")
    status = fal.completed(job)
    assert (status["status"], status["error_type"]) == ("COMPLETED", error_type)
    assert status["error"]
    result = fal.result(job)
    assert result.status_code == kind.status_code
    assert result.headers["x-fal-error-type"] == error_type
    assert result.headers["x-fal-retryable"] == str(kind.retryable).lower()
    assert result.headers["x-fal-billable-units"] == "0"
    body = result.json()
    if kind.shape == "model":
        assert [item["type"] for item in body["detail"]] == [error_type]
        assert set(body["detail"][0]) == {"loc", "msg", "type", "url", "input"}
    else:
        assert body == {"detail": kind.message, "error_type": error_type}


def test_fail_alone_is_an_error_of_the_platform(fal: Emulator) -> None:
    """`[[fal:fail]]`: COMPLETED, a 500, nothing billed."""
    result = fal.result(fal.submit("[[fal:fail]]"))
    assert (result.status_code, result.json()["error_type"]) == (500, "internal_error")
    assert not fal.accepted("[[fal:fail]]")[0]["billed"]


def test_422_is_a_refusal_of_the_content(fal: Emulator) -> None:
    """`[[fal:422]]`: accepted first, a final content_policy_violation as the result."""
    result = fal.result(fal.submit("[[fal:422]]"))
    assert result.status_code == 422
    assert result.json()["detail"][0]["type"] == "content_policy_violation"
    assert result.headers["x-fal-billable-units"] == "0"


def test_a_result_may_lack_its_asset(fal: Emulator) -> None:
    """`[[fal:no-asset]]`: a 200 that holds nothing to fetch."""
    assert fal.generate("[[fal:no-asset]]")["video"] is None
    assert fal.generate("[[fal:no-asset]]", endpoint=IMAGE)["images"] == []


def test_a_result_may_fail_once_and_then_succeed(fal: Emulator) -> None:
    """`[[fal:result-500]]`: reading again is the right reaction."""
    job = fal.submit("[[fal:result-500=2]]")
    assert [fal.result(job).status_code for _ in range(3)] == [500, 500, 200]


def test_a_slow_job_is_in_progress_meanwhile(fal: Emulator) -> None:
    """`[[fal:slow=SECONDS]]` lengthens this job alone."""
    slow = fal.submit("[[fal:slow=1.5]]")
    fal.completed(fal.submit())
    assert fal.http.get(slow["status_url"]).json()["status"] == "IN_PROGRESS"
    assert fal.completed(slow)["metrics"]["inference_time"] >= 1.5


def test_a_status_may_be_unheard_of(fal: Emulator) -> None:
    """`[[fal:unknown-status]]`: a word outside the protocol until the job completes."""
    job = fal.submit("[[fal:unknown-status]] [[fal:slow=1]]")
    assert fal.http.get(job["status_url"]).json()["status"] == "REHEATING"
    assert fal.completed(job)["status"] == "COMPLETED"


# ── Cancel ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("directive", ["[[fal:stuck]]", "[[fal:slow=60]] [[fal:cooperative]]"])
def test_a_cancel_ends_a_job_that_listens(fal: Emulator, directive: str) -> None:
    """Accepted with a 202, then COMPLETED as client_cancelled with a 499 result, unbilled."""
    job = fal.submit(f"{directive} please stop")
    answer = fal.http.put(job["cancel_url"])
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert fal.http.put(job["cancel_url"]).status_code in (202, 400)
    assert fal.completed(job)["error_type"] == "client_cancelled"
    assert fal.result(job).status_code == 499
    assert not fal.accepted(f"{directive} please stop")[0]["billed"]


def test_a_cancel_does_not_stop_an_ordinary_running_job(fal: Emulator) -> None:
    """The signal is accepted, the model does not listen, the result is real and billed."""
    job = fal.submit("[[fal:slow=1]] does not listen")
    assert fal.http.put(job["cancel_url"]).status_code == 202
    assert fal.result(job).status_code == 200
    (item,) = fal.accepted("[[fal:slow=1]] does not listen")
    assert item["cancel_requested"]
    assert item["billed"]


def test_a_cancel_takes_a_waiting_job_out_of_the_queue(narrow: Emulator) -> None:
    """What has not started never starts."""
    blocker = narrow.submit("[[fal:stuck]] blocks the cancelled")
    waiting = narrow.submit("never starts")
    assert narrow.http.put(waiting["cancel_url"]).status_code == 202
    assert narrow.http.get(waiting["response_url"]).status_code == 499
    narrow.http.put(blocker["cancel_url"])
    narrow.completed(blocker)


def test_a_cancel_after_completion_or_of_nothing_is_refused(fal: Emulator) -> None:
    """400 ALREADY_COMPLETED, 404 NOT_FOUND."""
    job = fal.submit()
    fal.completed(job)
    late = fal.http.put(job["cancel_url"])
    assert (late.status_code, late.json()) == (400, {"status": "ALREADY_COMPLETED"})
    nothing = fal.http.put("/fal-ai/veo3.1/requests/no-such/cancel")
    assert (nothing.status_code, nothing.json()) == (404, {"status": "NOT_FOUND"})


# ── Media that goes wrong ───────────────────────────────────────────────────────────────────


def test_media_may_be_missing_or_of_the_wrong_type_or_elsewhere(fal: Emulator) -> None:
    """Each directive spoils the download in its own way; the result looks perfect."""
    missing = fal.generate("[[fal:media-404]]")["video"]["url"]
    assert fal.http.get(missing).status_code == 404
    page = fal.http.get(fal.generate("[[fal:media-wrong-type]]")["video"]["url"])
    assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
    moved = fal.http.get(fal.generate("[[fal:media-redirect]]")["video"]["url"])
    assert moved.headers["location"].startswith("https://media.invalid/")
    foreign = fal.generate("[[fal:media-foreign]]")["video"]["url"]
    assert foreign.startswith("https://media.invalid/")


def test_media_may_break_off(fal: Emulator) -> None:
    """The stated length is the whole file's; the connection ends before it."""
    url = fal.generate("[[fal:media-truncated]]")["video"]["url"]
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        fal.http.get(url)


# ── Webhooks ────────────────────────────────────────────────────────────────────────────────


class Receiver(ThreadingHTTPServer):
    """A customer's webhook address that answers with the given statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook?token=t"


class _ReceiverHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Remember the delivery."""
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
        self.send_header("location", receiver.url)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    """A webhook address for the length of a block."""
    with Receiver(*statuses) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


def verify(fal: Emulator, headers: dict[str, str], body: bytes) -> None:
    """Check a delivery's signature with the newest of the provider's published keys."""
    key = fal.http.get("/.well-known/jwks.json").json()["keys"][-1]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    parts = [headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
    message = "\n".join([*parts, sha256(body).hexdigest()]).encode()
    public.verify(bytes.fromhex(headers["x-fal-webhook-signature"]), message)


def settled(fal: Emulator, prompt: str) -> list[dict[str, Any]]:
    """The webhooks of the one job with this prompt, once none is pending any more."""
    eventually(lambda: all(w["state"] != "pending" for w in fal.accepted(prompt)[0]["webhooks"]))
    webhooks: list[dict[str, Any]] = fal.accepted(prompt)[0]["webhooks"]
    return webhooks


def test_a_webhook_is_signed_and_carries_the_result(fal: Emulator) -> None:
    """Ed25519 over ids, time and body; the payload equals the result."""
    with receiving() as receiver:
        job = fal.submit("hooked", params={"fal_webhook": receiver.url})
        settled(fal, "hooked")
    ((headers, body),) = receiver.got
    verify(fal, headers, body)
    told = httpx.Response(200, content=body).json()
    assert told["status"] == "OK"
    assert told["request_id"] == headers["x-fal-webhook-request-id"] == job["request_id"]
    assert told["gateway_request_id"] == job["gateway_request_id"]
    assert told["payload"] == fal.result(job).json()
    assert abs(int(headers["x-fal-webhook-timestamp"]) - time.time()) < 60
    assert headers["x-fal-webhook-user-id"] == fal.accepted("hooked")[0]["user_id"]


def test_a_failed_jobs_webhook_says_so(fal: Emulator) -> None:
    """Status ERROR, the error in one line, and the model's own body as payload."""
    with receiving() as receiver:
        fal.submit("[[fal:422]] hooked", params={"fal_webhook": receiver.url})
        settled(fal, "[[fal:422]] hooked")
    told = httpx.Response(200, content=receiver.got[0][1]).json()
    assert (told["status"], told["error"]) == ("ERROR", "Invalid status code: 422")
    assert told["payload"]["detail"][0]["type"] == "content_policy_violation"


def test_a_webhook_is_repeated_until_it_is_accepted(fal: Emulator) -> None:
    """Anything but a 2xx is tried again after a pause."""
    with receiving(500, 404) as receiver:
        fal.submit("third time", params={"fal_webhook": receiver.url})
        (webhook,) = settled(fal, "third time")
    assert (webhook["state"], webhook["tries"], len(receiver.got)) == ("delivered", 3, 3)


def test_a_redirect_ends_a_webhook(fal: Emulator) -> None:
    """A 3xx is a final failure and is not followed."""
    with receiving(307) as receiver:
        fal.submit("redirected", params={"fal_webhook": receiver.url})
        (webhook,) = settled(fal, "redirected")
    assert (webhook["state"], len(receiver.got)) == ("failed", 1)


def test_webhooks_can_be_doubled_forged_emptied_and_suppressed(fal: Emulator) -> None:
    """Each directive spoils the delivery in its own way."""
    with receiving() as receiver:
        for name in ("webhook-twice", "no-webhook", "webhook-only=no"):
            job = fal.submit(f"[[fal:{name}]]", params={"fal_webhook": receiver.url})
            fal.completed(job)
            settled(fal, f"[[fal:{name}]]")
        assert len(receiver.got) == 2
        fal.submit("[[fal:webhook-no-payload]]", params={"fal_webhook": receiver.url})
        settled(fal, "[[fal:webhook-no-payload]]")
        fal.submit("[[fal:webhook-bad-signature]]", params={"fal_webhook": receiver.url})
        settled(fal, "[[fal:webhook-bad-signature]]")
    emptied = httpx.Response(200, content=receiver.got[2][1]).json()
    assert emptied["payload"] is None
    assert emptied["payload_error"]
    with pytest.raises(InvalidSignature):
        verify(fal, *receiver.got[3])


def delivered(fal: Emulator, prompt: str) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """Headers and body of a job's one webhook, whose signature must be good, and the job."""
    with receiving() as receiver:
        job = fal.submit(prompt, params={"fal_webhook": receiver.url})
        settled(fal, prompt)
    ((headers, body),) = receiver.got
    verify(fal, headers, body)
    return headers, httpx.Response(200, content=body).json(), job


def test_a_webhook_may_be_signed_an_hour_ago(fal: Emulator) -> None:
    """`[[fal:webhook-old-timestamp]]`: a good signature over an old time."""
    headers, _, _ = delivered(fal, "[[fal:webhook-old-timestamp]]")
    assert 3540 < time.time() - int(headers["x-fal-webhook-timestamp"]) < 3660


def test_a_webhook_may_be_for_somebody_else(fal: Emulator) -> None:
    """`[[fal:webhook-other-user]]`: a good signature over another user's id."""
    headers, _, _ = delivered(fal, "[[fal:webhook-other-user]]")
    (item,) = fal.accepted("[[fal:webhook-other-user]]")
    assert headers["x-fal-webhook-user-id"] != item["user_id"]


def test_a_webhook_may_name_another_request(fal: Emulator) -> None:
    """`webhook-wrong-request-id`: in the body alone; `webhook-unknown-job`: everywhere."""
    headers, body, job = delivered(fal, "[[fal:webhook-wrong-request-id]]")
    assert headers["x-fal-webhook-request-id"] == job["request_id"] != body["request_id"]
    headers, body, job = delivered(fal, "[[fal:webhook-unknown-job]]")
    assert headers["x-fal-webhook-request-id"] == body["request_id"] != job["request_id"]
    path = f"/fal-ai/veo3.1/requests/{body['request_id']}/status"
    assert fal.http.get(path).status_code == 404


def test_a_key_may_be_rotated(tmp_path: Path) -> None:
    """`[[fal:webhook-rotated-key]]`: signed with a new key, which comes after the one before it in
    the key set; both are there after a restart."""
    with running(tmp_path, "--job-seconds", "0", "--allow-loopback-webhooks") as fal:
        (first,) = fal.http.get("/.well-known/jwks.json").json()["keys"]
        delivered(fal, "[[fal:webhook-rotated-key]]")
        both = fal.http.get("/.well-known/jwks.json").json()["keys"]
        assert (both[0], len(both)) == (first, 2)
        fal.stop(signal.SIGKILL)
        fal.start()
        assert fal.http.get("/.well-known/jwks.json").json()["keys"] == both
        delivered(fal, "signed with the new key from now on")
        delivered(fal, "[[fal:webhook-rotated-key]] again")
        newest = fal.http.get("/.well-known/jwks.json").json()["keys"]
        assert (newest[0], len(newest)) == (both[1], 2)


def test_a_webhook_may_come_before_the_submits_answer(fal: Emulator) -> None:
    """`[[fal:webhook-first]]`: the answer waits for the webhook; without one it does not wait."""
    with receiving() as receiver:
        fal.submit("[[fal:webhook-first]]", params={"fal_webhook": receiver.url})
        assert len(receiver.got) == 1
    fal.submit("[[fal:webhook-first]] nobody to call")
    stuck = {"prompt": "[[fal:webhook-first]][[fal:stuck]]"}
    hook = {"fal_webhook": "http://127.0.0.1:1/"}
    with pytest.raises(httpx.ReadTimeout):
        fal.http.post(f"/{VIDEO}", json=stuck, params=hook, timeout=0.2)


@pytest.mark.parametrize("how", ["", "[[fal:stuck]]", "[[fal:slow=1]]"])
def test_a_webhook_may_wait_for_a_cancel(fal: Emulator, how: str) -> None:
    """`[[fal:webhook-after-cancel]]`: sent once a cancel was asked for and the job is over."""
    prompt = f"[[fal:webhook-after-cancel]]{how} patient"
    with receiving() as receiver:
        job = fal.submit(prompt, params={"fal_webhook": receiver.url})
        if not how:
            fal.completed(job)
        assert fal.accepted(prompt)[0]["webhooks"][0]["state"] == "pending"
        fal.http.put(job["cancel_url"])
        assert settled(fal, prompt)[0]["state"] == "delivered"
    told = httpx.Response(200, content=receiver.got[0][1]).json()
    assert told["status"] == ("ERROR" if "stuck" in how else "OK")


def test_a_webhook_may_come_late(fal: Emulator) -> None:
    """`[[fal:webhook-late=SECONDS]]`: polling knows long before the webhook does."""
    with receiving() as receiver:
        job = fal.submit("[[fal:webhook-late=1]]", params={"fal_webhook": receiver.url})
        fal.completed(job)
        assert fal.accepted("[[fal:webhook-late=1]]")[0]["webhooks"][0]["state"] == "pending"
        assert settled(fal, "[[fal:webhook-late=1]]")[0]["state"] == "delivered"


@pytest.mark.parametrize("url", ["http://10.0.0.1/x", "http://169.254.169.254/x", "http://[::]/x"])
def test_a_private_webhook_target_is_never_called(fal: Emulator, url: str) -> None:
    """Private and link-local addresses are dropped, whatever the flag for loopback says."""
    fal.submit(f"private {url}", params={"fal_webhook": url})
    eventually(lambda: fal.accepted(f"private {url}")[0]["status"] == "COMPLETED")
    assert settled(fal, f"private {url}")[0]["state"] == "dropped"


def test_a_loopback_webhook_target_needs_the_flag(narrow: Emulator) -> None:
    """Without the flag the emulator drops it, as fal does."""
    with receiving() as receiver:
        narrow.submit("loopback", params={"fal_webhook": receiver.url})
        assert settled(narrow, "loopback")[0]["state"] == "dropped"
    assert receiver.got == []


# ── The process ─────────────────────────────────────────────────────────────────────────────


def test_killed_in_the_middle_it_forgets_nothing(tmp_path: Path) -> None:
    """After SIGKILL and a restart, jobs go on, owed webhooks are sent, the key is the same."""
    with (
        receiving() as receiver,
        running(tmp_path, "--job-seconds", "1", "--allow-loopback-webhooks") as fal,
    ):
        keys = fal.http.get("/.well-known/jwks.json").json()
        job = fal.submit("survivor", params={"fal_webhook": receiver.url})
        fal.stop(signal.SIGKILL)
        fal.start()
        assert fal.http.get("/.well-known/jwks.json").json() == keys
        path = f"/fal-ai/veo3.1/requests/{job['request_id']}"
        eventually(lambda: fal.http.get(f"{path}/status").status_code == 200)
        url = fal.http.get(path).json()["video"]["url"]
        assert url.startswith(fal.url)
        assert fal.http.get(url).status_code == 200
        eventually(lambda: receiver.got)
        assert len(fal.accepted("survivor")) == 1


def test_an_old_result_is_gone_but_its_media_is_not(tmp_path: Path) -> None:
    """Status and result expire some time after completion; the CDN keeps the file."""
    with running(tmp_path, "--job-seconds", "0", "--result-seconds", "1") as fal:
        job = fal.submit()
        url = fal.http.get(job["response_url"]).json()["video"]["url"]
        eventually(lambda: fal.http.get(job["status_url"]).status_code == 404)
        assert fal.http.get(job["response_url"]).json() == {"status": "NOT_FOUND"}
        assert fal.http.get(url).status_code == 200


def test_a_reset_forgets_every_job_and_refusal(tmp_path: Path) -> None:
    """`POST /admin/reset` makes a fresh provider; a stopped one ends with its signal's exit."""
    with running(tmp_path, "--job-seconds", "0") as fal:
        assert fal.post("[[fal:submit-500=1]]").status_code == 500
        job = fal.submit()
        assert "<table>" in fal.http.get("/admin").text
        assert fal.http.post("/admin/reset").json() == {"status": "ok"}
        assert fal.http.get("/admin/jobs").json() == {"items": []}
        assert fal.http.get(job["status_url"]).status_code == 404
        assert fal.post("[[fal:submit-500=1]]").status_code == 500
        assert fal.http.get("/health").json() == {"status": "ok"}


def test_a_prompt_cannot_write_into_the_admin_page(fal: Emulator) -> None:
    """What a client sent is shown as text."""
    fal.submit("<script>alert(1)</script>")
    page = fal.http.get("/admin").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_state_is_private_to_its_user(fal: Emulator) -> None:
    """The signing key's file is readable by its owner alone."""
    assert os.stat(fal.directory / "state" / "webhook.key").st_mode & 0o077 == 0
