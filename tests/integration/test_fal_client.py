"""fal's own Python client against the emulator, over TLS: what it does not notice is right.

Only its addresses are changed. Nothing of it is replaced, and it would raise a `KeyError`, or wait
for ever, where the emulator left something out.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fal_client
import httpx
import pytest
import trustme
from fal_client import client as internals

from deploy.emulators.fal.errors import CATALOGUE
from tests.fixtures.fal_emulator import IMAGE, VIDEO, Emulator, running

# It leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

KEY = "id:one"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
ERRORS = sorted({(kind.status_code, kind.shape): name for name, kind in CATALOGUE.items()}.values())
"""One error for each status and shape."""


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider that speaks https, under a certificate that the client is told to trust."""
    folder = tmp_path_factory.mktemp("fal")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "certificate.pem", append=True)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    options = (
        *("--tls-certificate", str(folder / "certificate.pem")),
        *("--tls-key", str(folder / "key.pem")),
        *("--job-seconds", "0.1", "--key", KEY, "--concurrency", "100"),
    )
    with running(folder, *options, trust=folder / "authority.pem") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def at_the_emulator(fal: Emulator) -> Iterator[None]:
    """Every host of fal's is the emulator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(fal.directory / "authority.pem"))
        patch.setattr(internals, "QUEUE_URL_FORMAT", f"{fal.url}/")
        patch.setattr(internals, "RUN_URL_FORMAT", f"{fal.url}/run/")
        patch.setattr(internals, "REST_URL", fal.url)
        patch.setattr(internals, "CDN_URL", fal.url)
        patch.setattr(internals, "DEFAULT_QUEUE_POLL_INTERVAL", 0.05)
        yield


@pytest.fixture(scope="module")
def client(at_the_emulator: None) -> Iterator[fal_client.SyncClient]:
    """The client as an app makes it."""
    made = fal_client.SyncClient(key=KEY, default_timeout=10.0)
    yield made
    made._client.close()
    gc.collect()


def test_it_submits_waits_and_gets_the_result(client: fal_client.SyncClient) -> None:
    """Statuses one after the other, the last of them complete, with its metrics and its log."""
    handle = client.submit(VIDEO, {"prompt": "a boat"}, priority="low", start_timeout=30)
    seen = list(handle.iter_events(with_logs=True, interval=0.02))
    assert isinstance(seen[0], fal_client.InProgress | fal_client.Queued)
    last = seen[-1]
    assert isinstance(last, fal_client.Completed)
    assert last.error is None
    assert last.metrics["inference_time"] >= 0
    assert last.logs
    assert {"message", "level", "source", "timestamp"} == last.logs[0].keys()
    assert handle.get()["video"]["content_type"] == "video/mp4"
    assert client.result(VIDEO, handle.request_id) == handle.get()


def test_it_subscribes(client: fal_client.SyncClient) -> None:
    """From the submit to the result in one call, hearing of every status."""
    ids: list[str] = []
    updates: list[fal_client.Status] = []
    result = client.subscribe(
        IMAGE,
        {"prompt": "a boat"},
        with_logs=True,
        on_enqueue=ids.append,
        on_queue_update=updates.append,
    )
    assert result["images"][0]["width"] == 512
    assert len(ids) == 1
    assert isinstance(updates[-1], fal_client.Completed)


def test_it_waits_in_the_queue(client: fal_client.SyncClient) -> None:
    """`Queued` says how many are ahead."""
    handle = client.submit(VIDEO, {"prompt": "[[fal:stuck-in-queue]]"})
    assert handle.status() == fal_client.Queued(position=0)
    handle.cancel()
    with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
        handle.get()
    assert (cancelled.value.status_code, cancelled.value.error_type) == (499, "client_cancelled")


def test_it_cancels(client: fal_client.SyncClient) -> None:
    """A running job that listens ends; one that has ended cannot be cancelled, nor an unknown."""
    handle = client.submit(VIDEO, {"prompt": "[[fal:stuck]]"})
    client.cancel(VIDEO, handle.request_id)
    *_, last = handle.iter_events()
    assert isinstance(last, fal_client.Completed)
    assert last.error_type == "client_cancelled"
    for request_id, status in ((handle.request_id, 400), ("nobody", 404)):
        with pytest.raises(fal_client.FalClientHTTPError) as refused:
            client.cancel(VIDEO, request_id)
        assert refused.value.status_code == status


def test_a_deadline_of_the_clients_cancels_the_job(
    fal: Emulator, client: fal_client.SyncClient
) -> None:
    """`client_timeout` gives up, and asks for the job not to be made."""
    prompt = "[[fal:stuck]] out of patience"
    with pytest.raises(fal_client.FalClientTimeoutError) as out_of_time:
        client.subscribe(VIDEO, {"prompt": prompt}, client_timeout=1.01)
    (job,) = fal.accepted(prompt)
    assert out_of_time.value.request_id == job["request_id"]
    assert job["cancel_requested"] is True
    assert job["headers"]["x-fal-request-timeout"] == "1.01"


@pytest.mark.parametrize("error_type", ERRORS)
def test_every_kind_of_error_is_told_by_its_type(
    client: fal_client.SyncClient, error_type: str
) -> None:
    """Status, type and detail of a failure, in the result and in the last status."""
    kind = CATALOGUE[error_type]
    handle = client.submit(VIDEO, {"prompt": f"[[fal:fail={error_type}]][[fal:slow=0]]"})
    with pytest.raises(fal_client.FalClientHTTPError) as failed:
        handle.get()
    assert (failed.value.status_code, failed.value.error_type) == (kind.status_code, error_type)
    said: Any = failed.value.message  # a list, whatever its annotation says
    assert (said[0]["msg"] if kind.shape == "model" else said) == kind.message
    status = handle.status()
    assert isinstance(status, fal_client.Completed)
    assert status.error_type == error_type


def test_refusals_of_a_submit(client: fal_client.SyncClient) -> None:
    """A wrong key is a 401; a 429 and a gateway's page are tried again, as it does by itself."""
    stranger = fal_client.SyncClient(key="id:wrong")
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        stranger.submit(VIDEO, {"prompt": "a boat"})
    stranger._client.close()
    assert (refused.value.status_code, refused.value.message) == (401, "invalid key credentials")
    for status in (429, 502, 503):
        prompt = f"[[fal:submit-{status}=1]][[fal:slow=0]]"
        assert client.subscribe(VIDEO, {"prompt": prompt})["video"]


def test_it_submits_twice_when_an_answer_is_late(
    fal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One submit of an app's, two jobs and two bills: why nobody should submit through it."""
    monkeypatch.setattr(internals, "MAX_ATTEMPTS", 2)
    hasty = fal_client.SyncClient(key=KEY, default_timeout=0.3)
    prompt = "[[fal:lost-submit]] and found twice"
    with pytest.raises(httpx.ReadTimeout):
        hasty.submit(VIDEO, {"prompt": prompt})
    hasty._client.close()
    assert len(fal.accepted(prompt)) == 2


def test_it_runs_a_model_directly(fal: Emulator, client: fal_client.SyncClient) -> None:
    """`run` holds the connection until the result is there, or the error."""
    assert client.run(IMAGE, {"prompt": "a boat", "num_images": 2})["images"][1]["url"]
    with pytest.raises(fal_client.FalClientHTTPError) as failed:
        client.run(VIDEO, {"prompt": "[[fal:422]]"})
    assert failed.value.error_type == "content_policy_violation"
    with pytest.raises(httpx.TransportError):
        fal.http.post(f"/run/{VIDEO}", json={"prompt": "[[fal:reset-submit]]"})


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
def test_it_uploads(fal: Emulator, client: fal_client.SyncClient, repository: str) -> None:
    """Through the CDN with a token, and through a URL that is asked for; for as long as wished."""
    url = client.upload(
        PNG,
        "image/png",
        "boat.png",
        repository=repository,  # type: ignore[arg-type]
        fallback_repository=[],
        lifecycle=fal_client.StorageSettings(expires_in="1h"),
    )
    answer = fal.http.get(url)
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")


def test_it_uploads_large_files_in_parts(
    fal: Emulator,
    client: fal_client.SyncClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Parts may arrive in any order, and together are the file."""
    monkeypatch.setattr(internals, "MULTIPART_THRESHOLD", 100)
    monkeypatch.setattr(internals, "MULTIPART_CHUNK_SIZE", 300)
    content = bytes(range(256)) * 4
    url = client.upload(content, "video/mp4", "boat.mp4")
    assert fal.http.get(url).content == content
    file = tmp_path / "boat.mp4"
    file.write_bytes(content[::-1])
    assert fal.http.get(client.upload_file(file)).content == content[::-1]


@pytest.mark.usefixtures("at_the_emulator")
def test_it_does_the_same_without_threads(fal: Emulator) -> None:
    """The asynchronous client: subscribe, events, cancel, upload, errors."""

    async def scenario() -> None:
        client = fal_client.AsyncClient(key=KEY, default_timeout=10.0)
        url, done, handle = await asyncio.gather(
            client.upload(PNG, "image/png"),
            client.subscribe(VIDEO, {"prompt": "a boat"}, with_logs=True),
            client.submit(VIDEO, {"prompt": "[[fal:cooperative]][[fal:slow=30]]"}),
        )
        assert (fal.http.get(url).content, done["video"]["file_name"]) == (PNG, "output.mp4")
        await handle.cancel()
        last = [event async for event in handle.iter_events(with_logs=True)][-1]
        assert isinstance(last, fal_client.Completed)
        with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
            await handle.get()
        assert cancelled.value.error_type == "client_cancelled"
        await (await client._client).aclose()

    asyncio.run(scenario())
    gc.collect()


def test_without_trust_nobody_speaks(fal: Emulator) -> None:
    """It is TLS, and not a word in the clear."""
    assert ssl.get_server_certificate(("127.0.0.1", httpx.URL(fal.url).port or 0))
    with httpx.Client(trust_env=False) as plain, pytest.raises(httpx.ConnectError):
        plain.get(fal.url)
    with httpx.Client(trust_env=False) as plain, pytest.raises(httpx.RemoteProtocolError):
        plain.get(fal.url.replace("https", "http"))
