"""The queue protocol row by row: for each request its status, its headers and its body's keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest

from tests.fixtures.fal_emulator import VIDEO, Emulator, running

APP = "/fal-ai/veo3.1/requests"
PLACE = {"response_url", "status_url", "cancel_url", "request_id", "gateway_request_id"}
STATUS = PLACE | {"status", "queue_position", "logs"}
DONE = STATUS | {"metrics"}
LISTED = {
    *("request_id", "endpoint_id", "sent_at", "started_at", "ended_at", "status_code", "tags"),
    *("json_input", "json_output"),
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the protocol: what is asked, and what must come back."""

    asks: str
    """Method and path; ``{done}``, ``{running}``, ``{failed}`` and ``{upload}`` are filled in."""
    answers: int
    keys: set[str] = set()
    sends: Any = None
    headers: tuple[str, ...] = ()
    within: str = ""
    """The key of an inner object, or list of objects, that `keys` describe."""


ROWS = (
    Row(asks=f"POST /{VIDEO}", sends={"prompt": "x"}, answers=200, keys=STATUS),
    Row(asks="POST /workflows/a/b", sends={}, answers=200, keys=STATUS),
    Row(asks=f"POST /{VIDEO}?fal_max_queue_length=0", sends={"prompt": "x"}, answers=429,
        keys={"detail", "error_type"}),
    Row(asks=f"POST /{VIDEO}", sends=[], answers=422, within="detail",
        keys={"loc", "msg", "type", "url", "input"}),
    Row(asks=f"GET {APP}/{{running}}/status", answers=202, keys=STATUS),
    Row(asks=f"GET {APP}/{{running}}/status?logs=1", answers=202, within="logs",
        keys={"message", "level", "source", "timestamp"}),
    Row(asks=f"GET {APP}/{{done}}/status?logs=false", answers=200, keys=DONE),
    Row(asks=f"GET {APP}/{{done}}/status?logs=true", answers=200, within="logs",
        keys={"message", "level", "source", "timestamp"}),
    Row(asks=f"GET /{VIDEO}/requests/{{done}}/status", answers=200, keys=DONE),
    Row(asks=f"GET {APP}/{{failed}}/status", answers=200, keys=DONE | {"error", "error_type"}),
    Row(asks=f"GET {APP}/{{running}}", answers=400, keys={"detail", "error_type"}),
    Row(asks=f"GET {APP}/{{done}}", answers=200, keys={"video", "seed"},
        headers=("x-fal-billable-units", "x-fal-served-from")),
    Row(asks=f"GET {APP}/{{done}}/response", answers=200, keys={"video", "seed"}),
    Row(asks=f"GET {APP}/{{done}}", answers=200, within="video",
        keys={"url", "content_type", "file_name", "file_size", "width", "height", "duration",
              "fps", "num_frames"}),
    Row(asks=f"GET {APP}/{{failed}}", answers=500, keys={"detail", "error_type"},
        headers=("x-fal-error-type", "x-fal-retryable", "x-fal-needs-retry")),
    Row(asks=f"GET {APP}/nobody/status", answers=404, keys={"status"}),
    Row(asks=f"GET {APP}/nobody", answers=404, keys={"status"}),
    Row(asks=f"PUT {APP}/nobody/cancel", answers=404, keys={"status"}),
    Row(asks=f"PUT {APP}/{{done}}/cancel", answers=400, keys={"status"}),
    Row(asks=f"PUT {APP}/{{running}}/cancel", answers=202, keys={"status"}),
    Row(asks=f"GET /v1/models/requests/by-endpoint?endpoint_id={VIDEO}&expand=payloads",
        answers=200, within="items", keys=LISTED),
    Row(asks=f"GET /v1/models/requests/by-endpoint?endpoint_id={VIDEO}", answers=200,
        keys={"items", "has_more", "next_cursor"}),
    Row(asks=f"GET /v1/models/pricing?endpoint_id={VIDEO},a/b", answers=200, within="prices",
        keys={"endpoint_id", "unit_price", "unit", "currency"}),
    Row(asks="GET /v1/models/pricing", answers=400, within="error", keys={"type", "message"}),
    Row(asks="POST /v1/models/pricing/estimate", answers=200,
        sends={"estimate_type": "unit_price", "endpoints": {VIDEO: {"unit_quantity": 8}}},
        keys={"estimate_type", "total_cost", "currency"}),
    Row(asks="GET /v1/models/usage", answers=200, keys={"time_series", "next_cursor", "has_more"}),
    Row(asks="GET /v1/models/usage?expand=summary", answers=200, within="summary",
        keys={"endpoint_id", "unit", "quantity", "unit_price", "cost", "currency"}),
    Row(asks="GET /v1/models", answers=200, within="models", keys={"endpoint_id", "metadata"}),
    Row(asks=f"GET /v1/models?endpoint_id={VIDEO}&expand=openapi-3.0", answers=200,
        within="models", keys={"endpoint_id", "metadata", "openapi"}),
    Row(asks="GET /v1/nothing/of/the/kind", answers=404, within="error", keys={"type", "message"}),
    Row(asks="GET /v1/account/billing", answers=200, keys={"username"}),
    Row(asks="GET /v1/account/billing?expand=credits", answers=200, within="credits",
        keys={"current_balance", "currency"}),
    Row(asks="GET /v1/meta", answers=200, keys={"webhook_ip_ranges"}),
    Row(asks="GET /.well-known/jwks.json", answers=200, within="keys",
        keys={"kty", "crv", "use", "kid", "x"}),
    Row(asks="POST /storage/upload/initiate?storage_type=fal-cdn-v3", answers=200,
        sends={"file_name": "a.png", "content_type": "image/png"}, keys={"upload_url", "file_url"}),
    Row(asks="POST /storage/upload/initiate-multipart", answers=200,
        sends={"file_name": "a.png", "content_type": "image/png"}, keys={"upload_url", "file_url"}),
    Row(asks="POST /storage/auth/token?storage_type=fal-cdn-v3", answers=200, sends={},
        keys={"token", "token_type", "base_url", "expires_at"}),
    Row(asks="POST /files/upload", answers=401, keys={"detail"}),
    Row(asks=f"POST /run/{VIDEO}", sends={"prompt": "x"}, answers=200, keys={"video", "seed"},
        headers=("x-fal-billable-units",)),
    Row(asks=f"POST /run/{VIDEO}", sends={"prompt": "[[fal:fail]]"}, answers=500,
        keys={"detail", "error_type"}, headers=("x-fal-error-type",)),
    Row(asks="DELETE /v1/models/requests/nobody/payloads", answers=404, within="error",
        keys={"type", "message"}),
    Row(asks="DELETE /v1/models/requests/{done}/payloads", answers=200,
        keys={"cdn_delete_results"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider whose jobs end at once, with plenty of runners."""
    options = ("--job-seconds", "0", "--concurrency", "100")
    with running(tmp_path_factory.mktemp("fal"), *options) as emulator:
        yield emulator


@pytest.fixture
def places(fal: Emulator) -> Mapping[str, str]:
    """A request in each state."""
    prompts = {"done": "a sunset", "running": "[[fal:slow=1.5]]", "failed": "[[fal:fail]]"}
    return {name: fal.submit(prompt)["request_id"] for name, prompt in prompts.items()}


def described(answer: httpx.Response, within: str) -> set[str]:
    """The keys of a body, or of the object or list of objects in it."""
    body: Any = answer.json()
    if within:
        body = body[within]
    return set(body[0] if isinstance(body, list) else body)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.asks)
def test_every_row_of_the_protocol_holds(
    fal: Emulator, places: Mapping[str, str], row: Row
) -> None:
    """Status, headers and keys are those of the table, and each answer bears a request id."""
    method, path = row.asks.format(**places).split(" ")
    if "logs=1" in path:
        # The first line of a log is there as soon as the job has started.
        assert fal.http.get(path).json()["status"] == "IN_PROGRESS"
    answer = fal.http.request(method, path, json=row.sends)
    assert answer.status_code == row.answers, answer.text
    assert described(answer, row.within) == row.keys
    assert [name for name in (*row.headers, "x-fal-request-id") if name not in answer.headers] == []


def test_the_row_without_a_key_is_a_401_everywhere(fal: Emulator) -> None:
    """Only what is public at fal answers a stranger: media, files brought, models and key set."""
    public = {"/.well-known/jwks.json", "/v1/models", "/v1/nothing/of/the/kind"}
    with httpx.Client(base_url=fal.url, trust_env=False) as stranger:
        answers = {
            row.asks: stranger.request(*row.asks.split(" "), json=row.sends).status_code
            for row in ROWS
            if row.asks.split(" ")[1].partition("?")[0] not in public
        }
    assert set(answers.values()) == {401}


def test_queue_positions_fall_until_the_job_runs(fal: Emulator) -> None:
    """Each job knows how many are ahead of it in its endpoint's queue."""
    with running(fal.directory / "one", "--concurrency", "1", "--job-seconds", "0") as one:
        blocker = one.submit("[[fal:stuck]]")
        first, second = one.submit("first"), one.submit("second")
        elsewhere = one.submit("another queue", endpoint="someone/else")
        positions = [
            one.http.get(job["status_url"]).json()["queue_position"]
            for job in (first, second, elsewhere)
        ]
        assert positions == [0, 1, 0]
        one.http.put(first["cancel_url"])
        assert one.http.get(second["status_url"]).json()["queue_position"] == 0
        one.http.put(blocker["cancel_url"])
        assert one.completed(second)["queue_position"] == 0


def test_each_key_has_runners_of_its_own(fal: Emulator) -> None:
    """The limit on running jobs is an account's: a neighbour's stuck job blocks nobody."""
    with running(fal.directory / "two", "--concurrency", "1", "--job-seconds", "0") as two:
        two.submit("[[fal:stuck]]")
        waiting = two.submit("behind the stuck one")
        neighbour = two.submit("mine", headers={"authorization": "Key id:two"})
        answer = two.http.get(neighbour["status_url"], headers={"authorization": "Key id:two"})
        assert answer.json()["status"] == "COMPLETED"
        assert two.http.get(waiting["status_url"]).json()["status"] == "IN_QUEUE"
        direct = two.http.post(f"/run/{VIDEO}", json={"prompt": "x"})
        assert direct.json()["error_type"] == "concurrent_requests_limit"
        assert (direct.status_code, direct.headers["x-fal-needs-retry"]) == (429, "1")


def test_deleted_payloads_are_gone_and_the_deletion_can_be_repeated(fal: Emulator) -> None:
    """Input, output and media disappear, everywhere; that the job was there does not."""
    prompt = "a secret sunset"
    job = fal.submit(prompt)
    url = fal.result(job).json()["video"]["url"]
    path = f"/v1/models/requests/{job['request_id']}/payloads"
    answers = [fal.http.delete(path, headers={"idempotency-key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json() == {"cdn_delete_results": [{"link": url, "exception": None}]}
    assert fal.http.get(url).status_code == 404
    assert fal.http.get(job["response_url"]).status_code == 404
    assert fal.http.get(job["status_url"]).status_code == 200
    listing = {"endpoint_id": VIDEO, "expand": "payloads"}
    items = fal.http.get("/v1/models/requests/by-endpoint", params=listing).json()["items"]
    (item,) = (item for item in items if item["request_id"] == job["request_id"])
    assert (item["json_input"], item["json_output"]) == (None, None)
    assert prompt not in fal.http.get("/admin").text
    assert prompt not in fal.http.get("/admin/state").text


def test_payloads_of_a_running_or_foreign_job_cannot_be_deleted(fal: Emulator) -> None:
    """400 before completion; another key's request does not exist."""
    job = fal.submit("[[fal:stuck]]")
    path = f"/v1/models/requests/{job['request_id']}/payloads"
    assert fal.http.delete(path).status_code == 400
    assert fal.http.delete(path, headers={"authorization": "Key id:two"}).status_code == 404


def test_a_file_is_announced_put_and_read(fal: Emulator) -> None:
    """The upload URL takes the bytes, the file URL gives them back, whole or by range."""
    said = {"file_name": "../in put.png", "content_type": "image/png"}
    urls = fal.http.post("/storage/upload/initiate", json=said).json()
    assert fal.http.get(urls["file_url"]).status_code == 404
    content = bytes(range(256)) * 8192
    with httpx.Client(trust_env=False) as stranger:
        assert stranger.put(urls["upload_url"], content=content).status_code == 200
        whole = stranger.get(urls["file_url"])
        part = stranger.get(urls["file_url"], headers={"range": "bytes=1-3"})
        other = stranger.put(urls["upload_url"].replace("png", "gif"), content=b"x")
    assert (whole.content, whole.headers["content-type"]) == (content, "image/png")
    assert (part.status_code, part.content) == (206, b"\1\2\3")
    assert whole.headers["content-security-policy"] == "sandbox"
    assert other.status_code == 404


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"file_name": 1, "content_type": "image/png"},
        {"file_name": "a", "content_type": "image"},
        {"file_name": "a", "content_type": "text/html\r\nx: y"},
    ],
)
def test_a_file_must_be_announced_properly(fal: Emulator, said: dict[str, Any]) -> None:
    """Else there is nowhere to put it."""
    assert fal.http.post("/storage/upload/initiate", json=said).status_code == 422


def test_parts_must_be_those_that_were_put(fal: Emulator) -> None:
    """As fal's JavaScript client sends a large file; wrong or missing parts make none."""
    said = {"file_name": "a.bin", "content_type": "video/mp4"}
    urls = fal.http.post("/storage/upload/initiate-multipart", json=said).json()
    with httpx.Client(trust_env=False) as stranger:
        second, first = (
            stranger.put(f"{urls['upload_url']}/{number}", content=content)
            for number, content in ((2, b"end"), (1, b"begin, "))
        )
        good = [first.json(), second.json()]
        assert good[0] == {"partNumber": 1, "etag": first.headers["etag"]}
        mixed = {"partNumber": 1, "etag": good[1]["etag"]}
        for bad in ([], [*good, {"partNumber": 3, "etag": "x"}], [mixed]):
            complete = {"parts": bad}
            answer = stranger.post(f"{urls['upload_url']}/complete", json=complete)
            assert answer.status_code == 400
            assert stranger.get(urls["file_url"]).status_code == 404
        assert stranger.put(f"{urls['upload_url']}/0", content=b"x").status_code == 404
        stranger.post(f"{urls['upload_url']}/complete", json={"parts": good}).raise_for_status()
        assert stranger.get(urls["file_url"]).content == b"begin, end"


def through_the_proxy(fal: Emulator, method: str, target: str, **sent: Any) -> httpx.Response:
    """A request as fal's JavaScript client makes it with a `proxyUrl`: without a key."""
    with httpx.Client(trust_env=False) as page:
        headers = {"x-fal-target-url": target, "origin": "https://app.example.com"}
        return page.request(method, f"{fal.url}/proxy", headers=headers, **sent)


def test_a_page_reaches_every_host_of_fals_through_the_proxy(fal: Emulator) -> None:
    """Queue, direct calls, uploads and the platform API, by the addresses that they have there;
    nobody else's address, and not the admin pages."""
    queue = f"https://queue.fal.run/{VIDEO}"
    job = through_the_proxy(fal, "POST", queue, json={"prompt": "x"}).json()
    status = f"https://queue.fal.run{APP}/{job['request_id']}/status?logs=1"
    answer = through_the_proxy(fal, "GET", status)
    assert (answer.status_code, bool(answer.json()["logs"])) == (200, True)
    assert answer.headers["access-control-allow-origin"] == "*"
    direct = through_the_proxy(fal, "POST", f"https://fal.run/{VIDEO}", json={"prompt": "x"})
    assert direct.json()["video"]["url"].startswith(fal.url)
    said = {"file_name": "a", "content_type": "image/png"}
    upload = "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3"
    assert through_the_proxy(fal, "POST", upload, json=said).json()["upload_url"]
    assert through_the_proxy(fal, "GET", "https://api.fal.ai/v1/models").json()["models"]
    for elsewhere in ("https://fal.ai.example.com/", "https://fal.ai/admin/state", "", "http://["):
        assert through_the_proxy(fal, "GET", elsewhere).status_code == 400


def test_pages_of_other_sites_may_ask_but_not_look_at_the_admin_pages(fal: Emulator) -> None:
    """As at fal; what is the emulator's own is for its own pages."""
    asked = fal.http.options(f"/{VIDEO}", headers={"access-control-request-method": "POST"})
    assert asked.status_code == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" in fal.post().headers
    for path in ("/admin", "/admin/state", "/health"):
        assert "access-control-allow-origin" not in fal.http.get(path).headers
