"""Parts of the worker on real sockets: the broker's outages, leases, copies of media."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import dramatiq
import pytest

from contracts.client import WorkClient
from contracts.jobs import DOORBELL_QUEUE, ReportEvent, RunningReport, SubmittedReport
from contracts.limits import POST_WINDOW_SECONDS
from job_worker.carrying import Carrier, Held
from job_worker.doorbell import DoorbellBroker, make_broker
from job_worker.downloads import MediaHosts
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.main import make_steps
from job_worker.media import MediaStore
from job_worker.settings import Secret, Settings
from tests.fixtures.services import Valkey
from tests.fixtures.serving import QuietHandler, serving
from tests.fixtures.stub_ledger import WORK_KEY, StubLedger, serve_stub_ledger

FIXTURES = Path(__file__).parents[2] / "deploy" / "emulators" / "fal" / "fixtures"
VIDEO = (FIXTURES / "landscape-4s.mp4").read_bytes()

pytestmark = pytest.mark.slow


# --- the broker ----------------------------------------------------------------------------------


@pytest.fixture
def broker(valkey: Valkey) -> Iterator[DoorbellBroker]:
    """A broker in a hurry: the dead are noticed after a second."""
    made = make_broker(valkey.url)
    made.heartbeat_timeout, made.maintenance_chance = 1000, 1_000_000
    made.declare_queue(DOORBELL_QUEUE)
    yield made
    made.client.close()


def bell() -> dramatiq.Message[Any]:
    """One message."""
    return dramatiq.Message(
        queue_name=DOORBELL_QUEUE, actor_name="advance", args=("gen_1",), kwargs={}, options={}
    )


def test_bells_of_a_lost_answer_return_to_the_queue(broker: DoorbellBroker, valkey: Valkey) -> None:
    """A fetch whose answer was lost strands no message, though the process lives on."""
    broker.enqueue(bell())
    consumer = broker.consume(DOORBELL_QUEUE, timeout=100)
    valkey.process.freeze()
    thaw = threading.Timer(4.0, valkey.process.thaw)
    thaw.start()
    with pytest.raises(dramatiq.ConnectionClosed):
        next(consumer)
    thaw.join()
    # The frozen server now hands the message out, into an answer that nobody reads.
    deadline = time.monotonic() + 20
    message = None
    while message is None:
        assert time.monotonic() < deadline, "the message is stranded"
        message = next(broker.consume(DOORBELL_QUEUE, timeout=100))
    assert message.args == ("gen_1",)


def test_giving_back_to_a_dead_server_neither_waits_nor_fails(
    broker: DoorbellBroker, valkey: Valkey
) -> None:
    """With Valkey gone, a finished message is let go at once, and a stop is not held up."""
    broker.enqueue(bell())
    consumer = broker.consume(DOORBELL_QUEUE, timeout=100)
    message = next(consumer)
    assert message is not None
    valkey.kill()
    consumer.ack(message)
    consumer.requeue([message])
    valkey.restart()
    name = broker.broker_id
    broker.do_qsize(DOORBELL_QUEUE)
    assert broker.broker_id != name


def test_an_enqueue_is_tried_once(broker: DoorbellBroker, valkey: Valkey) -> None:
    """A lost answer to an enqueue makes no second message: it fails instead."""
    valkey.kill()
    with pytest.raises(Exception, match="refused"):
        broker.enqueue(bell())


# --- leases --------------------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Iterator[StubLedger]:
    """A ledger that only knows claims and reports."""
    with serve_stub_ledger() as stub:
        yield stub


async def carry_one(ledger: StubLedger, perform: Callable[[Held], Awaitable[ReportEvent]]) -> None:
    """Answer the bell of the ledger's only job with this step."""
    async with WorkClient(ledger.url, WORK_KEY, worker="test") as client:
        await Carrier(client, perform).answer_bell("gen_1")


@pytest.mark.parametrize("renewals", ["refused", "ignored"])
def test_a_lost_lease_stops_a_step(
    ledger: StubLedger, renewals: Literal["refused", "ignored"]
) -> None:
    """A copy whose claim has gone to someone else, or whose job has ended, stops unreported."""
    job = ledger.add()
    job.claim()
    job.due_at = 0
    ledger.renewals = renewals
    stopped = []

    async def copy_for_ever(_: Held) -> ReportEvent:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(True)
            raise
        raise AssertionError

    asyncio.run(carry_one(ledger, copy_for_ever))
    assert stopped == [True]
    assert job.events == []


def test_a_submit_on_its_way_is_not_stopped(ledger: StubLedger) -> None:
    """The answer of a POST is awaited and reported even when the lease is lost meanwhile."""
    job = ledger.add()
    ledger.renewals = "refused"
    steps = []

    async def slow_submit(held: Held) -> ReportEvent:
        steps.append(held.claim.step)
        if len(steps) == 1:
            await asyncio.sleep(4.5)
            return SubmittedReport(request_id="req_1")
        return RunningReport(provider_status="IN_QUEUE")

    asyncio.run(carry_one(ledger, slow_submit))
    assert job.request_id == "req_1"
    assert steps == ["submit", "poll"]


def test_a_long_step_keeps_its_lease(ledger: StubLedger) -> None:
    """A step longer than a lease renews it, so that nobody else is given the job."""
    job = ledger.add()

    async def long_step(_: Held) -> ReportEvent:
        for _second in range(10):
            await asyncio.sleep(1)
            assert job.due_at > time.monotonic()
        return RunningReport(provider_status="IN_QUEUE")

    asyncio.run(carry_one(ledger, long_step))
    assert [type(event).__name__ for event in job.events][:3] == ["RenewReport"] * 3
    assert isinstance(job.events[-1], RunningReport)


def test_a_late_claim_posts_nothing(ledger: StubLedger, tmp_path: Path) -> None:
    """Past the window, by the monotonic clock or the ledger's, not a byte goes to the provider."""
    settings = Settings(
        ledger_url=ledger.url,
        ledger_work_key=Secret(WORK_KEY),
        valkey_url=Secret("redis://127.0.0.1:1/0"),
        fal_key=Secret("k"),
        # Whoever connects is refused: then the report would be `provider_unreachable`.
        fal_queue_url="http://127.0.0.1:1",
        fal_api_url="http://127.0.0.1:1/v1",
        fal_media_hosts=(),
        storage_url=f"file://{tmp_path}",
        provider_listing_complete=False,
        places=1,
        processes=1,
    )
    claim = ledger.add().claim()

    async def submit(held: Held) -> Any:
        steps = make_steps(settings)
        try:
            return await steps(held)
        finally:
            await steps.close()

    late = asyncio.run(submit(Held(claim, time.monotonic() - POST_WINDOW_SECONDS)))
    assert (late.reason, late.sent, late.retryable) == ("not_sent_in_time", False, True)
    in_time = asyncio.run(submit(Held(ledger.add().claim(), time.monotonic())))
    assert (in_time.reason, in_time.sent, in_time.retryable) == (
        "provider_unreachable", False, True,
    )  # fmt: skip
    time.sleep(POST_WINDOW_SECONDS)
    assert asyncio.run(submit(Held(claim, time.monotonic()))).reason == "not_sent_in_time"


# --- media ---------------------------------------------------------------------------------------


@contextmanager
def media_server(paths: dict[str, tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """Serve fixed answers; the value is the server's `host:port`."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status, headers, content = paths[self.path]
            assert "Authorization" not in self.headers
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as host:
        yield host


async def copy(
    folder: Path, host: str, path: str, output: str = "video", store_before: float = math.inf
) -> Any:
    """Copy one asset from the server into `folder`."""
    store = MediaStore(f"file://{folder}", MediaHosts((host,)))
    try:
        return await store.copy(f"http://{host}{path}", "demo/gen_1", output, store_before)
    finally:
        await store.close()


def stored_files(folder: Path) -> list[Path]:
    """Everything in storage."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_copy_repeated_is_one_file_and_another_asset_is_another(tmp_path: Path) -> None:
    """The same asset is stored once however often it is copied; no asset replaces another."""
    other = VIDEO + b"\0\0\0\x08free"
    with media_server({"/a": (200, {}, VIDEO), "/b": (200, {}, other)}) as host:
        first = asyncio.run(copy(tmp_path, host, "/a"))
        again = asyncio.run(copy(tmp_path, host, "/a"))
        different = asyncio.run(copy(tmp_path, host, "/b"))
    assert first == again != different
    assert len(stored_files(tmp_path)) == 2
    assert (tmp_path / first.key).read_bytes() == VIDEO
    assert first.key.startswith("demo/gen_1-")


LENGTH = {"Content-Length": str(len(VIDEO))}
REFUSED: dict[str, tuple[tuple[int, dict[str, str], bytes], str]] = {
    "gone": ((410, {}, b""), "media_lost"),
    "a page": ((200, {"Content-Type": "video/mp4"}, b"<html>sorry</html>"), "media_invalid"),
    "an image": ((200, {}, (FIXTURES / "still.png").read_bytes()), "media_invalid"),
    "too large": ((200, {"Content-Length": str(3 * 1024**3)}, b""), "media_too_large"),
    "off the list": ((302, {"Location": "http://127.0.0.2:1/a"}, b""), "media_refused"),
    "in a circle": ((302, {"Location": "/x"}, b""), "media_refused"),
    "another scheme": ((302, {"Location": "file:///etc/passwd"}, b""), "media_refused"),
}
NOT_NOW: dict[str, tuple[tuple[int, dict[str, str], bytes], str]] = {
    "a busy host": ((503, {}, b""), "media_http_503"),
    "cut off": ((200, LENGTH, VIDEO[:-10]), "media_ClientPayloadError"),
    "cut off and no length": ((200, {}, VIDEO[:-10]), "media_damaged"),
    "compressed": ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), "media_encoded"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_never_be_had_is_final(case: str, tmp_path: Path) -> None:
    """An asset that is gone, no media, too large or elsewhere ends the attempt."""
    given, reason = REFUSED[case]
    with media_server({"/x": given}) as host, pytest.raises(ProviderRejected) as caught:
        asyncio.run(copy(tmp_path, host, "/x"))
    assert (caught.value.reason, caught.value.sent) == (reason, True)
    assert stored_files(tmp_path) == []


@pytest.mark.parametrize("case", NOT_NOW)
def test_what_may_be_had_later_is_not_final(case: str, tmp_path: Path) -> None:
    """An asset that came in part, or not now, leaves the attempt open and storage untouched."""
    given, reason = NOT_NOW[case]
    with media_server({"/x": given}) as host, pytest.raises(ProviderUnavailable) as caught:
        asyncio.run(copy(tmp_path, host, "/x"))
    assert caught.value.reason == reason
    assert stored_files(tmp_path) == []


def test_nothing_is_stored_when_its_time_has_passed(tmp_path: Path) -> None:
    """Who tidies up behind an ended generation is never followed by one more file."""
    with media_server({"/a": (200, {}, VIDEO)}) as host:
        with pytest.raises(ProviderUnavailable) as caught:
            asyncio.run(copy(tmp_path, host, "/a", store_before=time.monotonic()))
        assert caught.value.reason == "media_too_late"
        assert stored_files(tmp_path) == []
        asyncio.run(copy(tmp_path, host, "/a", store_before=time.monotonic() + 60))
    assert len(stored_files(tmp_path)) == 1


def test_our_own_storage_failing_is_no_verdict(tmp_path: Path) -> None:
    """A full or broken storage is our trouble: the provider's asset is asked for again."""
    with media_server({"/a": (200, {}, VIDEO)}) as host:
        (tmp_path / "demo").write_text("a file where the folder should be")
        with pytest.raises(ProviderUnavailable) as caught:
            asyncio.run(copy(tmp_path, host, "/a"))
    assert caught.value.reason.startswith("storage_")
