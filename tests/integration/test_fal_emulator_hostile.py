"""The emulator under hostile input: a proper answer to everything, and no trace of a bug."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fixtures.fal_emulator import VIDEO, Emulator, running

APP = "/fal-ai/veo3.1/requests"


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator; that its log holds no traceback is checked when it stops."""
    with running(tmp_path_factory.mktemp("fal"), "--job-seconds", "0") as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def unharmed(fal: Emulator) -> Iterator[None]:
    """After each test it still serves, and has met no bug of its own."""
    yield
    assert fal.http.get("/health").status_code == 200
    assert "hit a bug" not in fal.log.read_text()


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\\ud800"}',
        b'{"prompt": 1e999}',
        b'{"seed": ' + b"9" * 5_000 + b', "prompt": "x"}',
        b'{"prompt": ["[[fal:fail]]"]}',
        b'{"prompt": {"a": 1}}',
        b'{"prompt": "\\u0000[[fal:slow=0]]"}',
        b'{"prompt": "[[fal:]]"}',
        b'{"prompt": "[[fal:slow=' + b"9" * 400 + b']]"}',
        b'{"prompt": "[[fal:result-500=-1]]"}',
        b'{"prompt": "x", "image_size": ' + b'{"a":' * 200 + b"1" + b"}" * 201,
        b"\xff\xfe{}",
        b"null",
        b"{}" * 2,
    ],
)
def test_an_odd_body_is_accepted_or_refused_in_so_many_words(fal: Emulator, body: bytes) -> None:
    """A 200 and a job, or a 422 with details: never a 500."""
    answer = fal.http.post(f"/{VIDEO}", content=body)
    assert answer.status_code in {200, 422}
    if answer.status_code == 200:
        assert fal.http.get(answer.json()["status_url"]).status_code == 200
        assert fal.http.get(answer.json()["response_url"]).status_code in {200, 422}
    else:
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "value", "status_code"),
    [
        ("x-fal-request-timeout", "nan", 400),
        ("x-fal-request-timeout", "inf", 400),
        ("x-fal-request-timeout", "-1", 400),
        ("x-fal-request-timeout", "", 400),
        ("x-fal-request-timeout", "1e300", 200),
        ("x-fal-object-lifecycle-preference", "[", 200),
        ("x-fal-object-lifecycle-preference", "[]", 200),
        ("x-fal-object-lifecycle-preference", "[" * 10_000, 200),
        ("x-fal-object-lifecycle-preference", '{"expiration_duration_seconds": 1e999}', 200),
        ("x-fal-tags", "=,,a,b=c=d," + "x" * 5_000, 200),
        ("x-fal-tags", "k=\xe9", 200),
        ("x-fal-queue-priority", "urgent", 200),
        ("authorization", "Key \xff\xfe", 200),
        ("authorization", "Key", 401),
        ("host", "<script>", 400),
    ],
)
def test_an_odd_header_is_taken_or_refused(
    fal: Emulator, name: str, value: str, status_code: int
) -> None:
    """What a header says is bounded and never trusted; the result can be read all the same."""
    headers = {name.encode(): value.encode("latin-1")}
    answer = fal.http.post(f"/{VIDEO}", json={"prompt": "x"}, headers=headers)
    assert answer.status_code == status_code, answer.text
    if status_code == 200:
        url = urlsplit(answer.json()["response_url"]).path
        headers = headers if name == "authorization" else {}
        assert fal.http.get(url, headers=headers).status_code == 200
    assert "<script>" not in fal.http.get("/admin").text


@pytest.mark.parametrize(
    ("method", "path", "status_code"),
    [
        ("GET", "/", 404),
        ("GET", "/fal-ai", 404),
        ("GET", "//////", 404),
        ("POST", "/only-one", 404),
        ("POST", "/a/../../etc/passwd", 200),
        ("POST", "/a/b/%00%ff%0d%0a", 200),
        ("POST", "/a/" + "b" * 5_000, 404),
        ("POST", "/a/b/requests/c", 405),
        ("PATCH", f"/{VIDEO}", 405),
        ("DELETE", f"/{VIDEO}", 405),
        ("PUT", f"/{VIDEO}", 404),
        ("GET", f"{APP}/x/status/stream/more", 404),
        ("GET", f"{APP}/{'x' * 5_000}/status", 404),
        ("GET", f"{APP}/%F0%9F%9A%A2/status", 404),
        ("GET", "/files/../../webhook.key", 404),
        ("GET", "/files/x/..%2f..%2fwebhook.key", 404),
        ("GET", "/uploads/..%2f/webhook.key", 404),
        ("PUT", "/storage/uploads/x/y", 404),
        ("GET", "/admin/jobs?limit=-1", 422),
        ("GET", "/admin/jobs?limit=" + "9" * 5_000, 422),
        ("GET", "/admin/nothing", 404),
        ("GET", f"/v1/models/requests/by-endpoint?endpoint_id={VIDEO}&limit=" + "9" * 5_000, 400),
        ("GET", f"/v1/models/requests/by-endpoint?endpoint_id={VIDEO}&cursor=x", 400),
        ("GET", f"/v1/models/requests/by-endpoint?endpoint_id={VIDEO}&start=9999-99-99", 400),
        ("GET", f"/v1/models/requests/by-endpoint?endpoint_id={VIDEO}&start=0001-01-01", 200),
        ("GET", "/v1/models/requests/by-endpoint?endpoint_id=" + ",".join("x" * 51), 400),
        ("GET", "/v1/models/pricing?endpoint_id=,,,", 400),
        ("GET", "/v1/models/usage?start=0001-01-01&end=9999-12-31&timeframe=month", 200),
        ("GET", "/v1/models/usage?start=0001-01-01&timezone=America/New_York", 200),
        ("GET", "/v1/models/usage?timezone=../../etc/passwd", 400),
        ("GET", "/v1/models?endpoint_id=%00&q=%ff&limit=0", 200),
        ("GET", "/api/openapi/queue/openapi.json?endpoint_id=" + "x" * 5_000, 200),
        ("POST", "/v1/models/pricing/estimate", 400),
        ("POST", "/storage/upload/initiate-multipart", 422),
        ("POST", "/uploads/x/y/multipart/x/complete", 422),
        ("PUT", "/uploads/x/y/multipart/x/" + "9" * 18, 404),
        ("PUT", "/uploads/x/y/multipart/x/" + "9" * 5_000, 404),
        ("POST", "/files/upload", 401),
        ("POST", "/run/only-one", 404),
        ("POST", "/run/a/b/requests/c", 405),
    ],
)
def test_an_odd_path_is_answered(fal: Emulator, method: str, path: str, status_code: int) -> None:
    """Each has a status that fits, a JSON body, and a request id."""
    body = b"{}" if method == "POST" else None
    headers = {"Content-Type": "application/json"} if body else {}
    answer = fal.http.request(method, fal.url + path, content=body, headers=headers)
    assert answer.status_code == status_code, answer.text
    assert answer.headers["x-fal-request-id"]
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize("limit", ["-1", "1.5", "x", "", "9" * 5_000, "\u0663"])
def test_an_odd_queue_length_is_refused(fal: Emulator, limit: str) -> None:
    """Digits, at most nine of them."""
    prompt = f"odd {limit[:9]}"
    answer = fal.post(prompt, params={"fal_max_queue_length": limit})
    assert answer.status_code == 422
    assert fal.accepted(prompt) == []


@pytest.mark.parametrize("asked", ["bytes=" + "9" * 5_000 + "-", "bytes=-" + "9" * 5_000, "x" * 99])
def test_an_odd_range_is_ignored(fal: Emulator, asked: str) -> None:
    """A range that makes no sense gets the whole file, as HTTP has it."""
    url = fal.generate()["video"]["url"]
    assert fal.http.get(url, headers={"range": asked}).status_code == 200


@pytest.mark.parametrize("path", [f"/{VIDEO}", "/admin/outage", "/storage/upload/initiate"])
def test_a_body_is_bounded_wherever_it_is_sent(fal: Emulator, path: str) -> None:
    """A 413, whether the length is stated or the body comes in pieces."""

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(1 << 16)

    for content in (bytes(2 << 20), pieces()):
        try:
            assert fal.http.post(path, content=content).status_code == 413
        except (httpx.WriteError, httpx.ReadError):
            # It hung up before all of it was sent, which is as good.
            assert fal.http.get("/health").status_code == 200


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /a/b HTTP/1.1\r\nHost: x\r\nAuthorization: Key k\r\nContent-Length: 10\r\n\r\nhalf",
        b"\r\n" * 100,
    ],
)
def test_what_is_no_http_is_no_danger(fal: Emulator, words: bytes) -> None:
    """Broken requests are refused or waited for; the process serves on."""
    address = urlsplit(fal.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(64)
    assert answer in {b""} or b" 400 " in answer


@pytest.mark.parametrize("call", ["clock", "outage", "balance", "reset"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 9_000, b'{"seconds": {}}'])
def test_the_switches_take_no_nonsense(fal: Emulator, call: str, body: bytes) -> None:
    """A 422 that says what is wrong."""
    answer: Any = fal.http.post(f"/admin/{call}", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]
