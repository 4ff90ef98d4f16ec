"""Our own adapter against each of the emulator's misbehaviours: every one ends in its verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from contracts.jobs import (
    CancelledReport,
    Claim,
    ClaimedAttempt,
    FailedReport,
    JobPriority,
    ReportEvent,
    RunningReport,
    Step,
    SubmissionUnknownReport,
    SubmittedReport,
    SucceededReport,
)
from deploy.emulators.fal import directives
from deploy.emulators.fal.errors import CATALOGUE
from job_worker.downloads import MediaHosts
from job_worker.media import MediaStore
from job_worker.providers.fal import FalQueue
from job_worker.steps.fetch import FETCHES_MAX, fetch
from job_worker.steps.find import find
from job_worker.steps.poll import poll
from job_worker.steps.submit import submit
from tests.fixtures.fal_emulator import VIDEO, running
from tests.fixtures.serving import QuietHandler, serving

LOOKS_MAX = FETCHES_MAX + 5
LOOK_PAUSE_SECONDS = 0.25
KEY = "id:one"

SUCCESS = ("succeeded", "")
VERDICTS: Mapping[str, tuple[str, str]] = {
    # Refused at the door: nothing was queued, whatever may be tried later.
    "[[fal:submit-401]]": ("refused, to be tried again", "provider_key_refused"),
    "[[fal:submit-403]]": ("refused, to be tried again", "provider_account_locked"),
    "[[fal:submit-422]]": ("refused", "value_error"),
    "[[fal:submit-429]]": ("refused, to be tried again", "provider_busy"),
    # Nobody knows whether it was queued: never sent again, looked for in the listing.
    "[[fal:submit-500]]": ("unknown", "not_listed_so_far"),
    "[[fal:submit-502]]": ("unknown", "not_listed_so_far"),
    "[[fal:submit-503]]": ("unknown", "not_listed_so_far"),
    "[[fal:submit-504]]": ("unknown", "not_listed_so_far"),
    "[[fal:drop-submit]]": ("unknown", "not_listed_so_far"),
    "[[fal:lost-submit]]": SUCCESS,
    "[[fal:reset-submit]]": SUCCESS,
    "[[fal:half-submit]]": SUCCESS,
    "[[fal:no-urls]]": SUCCESS,
    "[[fal:slow-submit=3]]": SUCCESS,
    # The run. A job that does not end stays open until its deadline.
    "[[fal:slow=3]]": SUCCESS,
    "[[fal:stuck]]": ("open", "IN_PROGRESS"),
    "[[fal:stuck-in-queue]]": ("open", "IN_QUEUE"),
    "[[fal:cooperative]]": SUCCESS,
    "[[fal:unknown-status]]": SUCCESS,
    "[[fal:regress=3]]": SUCCESS,
    "[[fal:422]]": ("failed", "content_policy_violation"),
    # The shape of a failure does not matter where the status tells its type …
    "[[fal:fail-body=list]]": ("failed, to be tried again", "internal_error"),
    "[[fal:fail-body=flat]]": ("failed, to be tried again", "internal_error"),
    "[[fal:fail-body=string]]": ("failed, to be tried again", "internal_error"),
    "[[fal:fail-body=page]]": ("failed, to be tried again", "internal_error"),
    "[[fal:retryable=true]]": ("failed, to be tried again", "internal_error"),
    "[[fal:retryable=false]]": ("failed, to be tried again", "internal_error"),
    "[[fal:retryable=absent]]": ("failed, to be tried again", "internal_error"),
    # … and where it does not, a platform's 5xx is a stumble, unless it lasts.
    "[[fal:quiet-status]]": ("failed, to be tried again", "internal_error"),
    # Answers that stumble once are asked for again.
    "[[fal:status-404]]": SUCCESS,
    "[[fal:status-500]]": SUCCESS,
    "[[fal:status-502]]": SUCCESS,
    "[[fal:result-500]]": SUCCESS,
    "[[fal:result-502]]": SUCCESS,
    "[[fal:half-result]]": SUCCESS,
    # Results and media. What the provider calls a success it bills; we take what plays.
    "[[fal:big-result]]": SUCCESS,
    "[[fal:nsfw]]": SUCCESS,
    "[[fal:media-wrong-length]]": SUCCESS,
    "[[fal:no-asset]]": ("failed, to be tried again", "no_asset"),
    "[[fal:media-404]]": ("failed, to be tried again", "media_lost"),
    "[[fal:media-wrong-type]]": ("failed, to be tried again", "media_invalid"),
    "[[fal:media-huge]]": ("failed", "media_too_large"),
    "[[fal:media-redirect]]": ("failed", "media_refused"),
    "[[fal:media-foreign]]": ("failed", "media_refused"),
    "[[fal:media-private]]": ("failed", "media_refused"),
    "[[fal:media-truncated]]": ("open", "media_"),
}
QUIET: Mapping[str, tuple[str, str]] = {
    # The same failures told by the result alone: its status code and shape decide.
    "[[fal:422]]": ("failed", "content_policy_violation"),
    "[[fal:fail=internal_server_error]]": ("failed, to be tried again", "internal_server_error"),
    "[[fal:fail=downstream_service_error]]": (
        "failed, to be tried again", "downstream_service_error",
    ),
    "[[fal:fail=bad_request]]": ("failed", "bad_request"),
    "[[fal:422]][[fal:fail-body=string]]": ("failed", "provider_error"),
    "[[fal:422]][[fal:fail-body=flat]]": ("failed", "content_policy_violation"),
    "[[fal:422]][[fal:retryable=true]]": (
        "failed, to be tried again", "content_policy_violation",
    ),
    "[[fal:fail=generation_timeout]][[fal:retryable=false]]": ("failed", "generation_timeout"),
    "[[fal:fail=generation_timeout]][[fal:retryable=absent]]": (
        "failed, to be tried again", "generation_timeout",
    ),
    "[[fal:retryable=false]]": ("failed", "internal_error"),
    "[[fal:retryable=absent]]": ("failed, to be tried again", "internal_error"),
    "[[fal:fail-body=string]]": ("failed, to be tried again", "provider_error"),
    "[[fal:fail-body=page]]": ("open", "http_502"),
    "[[fal:fail=runner_disconnected]]": ("failed, to be tried again", "runner_disconnected"),
    "[[fal:fail=client_cancelled]]": ("failed", "client_cancelled"),
}  # fmt: skip
RETRYABLE = frozenset(
    {
        *("internal_server_error", "generation_timeout", "downstream_service_error"),
        *("downstream_service_unavailable", "request_timeout", "startup_timeout"),
        *("runner_scheduling_failure", "runner_connection_timeout", "runner_disconnected"),
        *("runner_connection_refused", "runner_connection_error", "runner_incomplete_response"),
        *("runner_server_error", "internal_error"),
    }
)
"""The errors after which another attempt may fare better; all others are final."""


def expected() -> dict[str, tuple[str, str]]:
    """Prompt by prompt, the verdict that it must end in."""
    table = dict(VERDICTS)
    for error_type in CATALOGUE:
        word = "failed, to be tried again" if error_type in RETRYABLE else "failed"
        table[f"[[fal:fail={error_type}]]"] = (word, error_type)
    table |= {f"{prompt}[[fal:quiet-status]]": verdict for prompt, verdict in QUIET.items()}
    for name in directives.KNOWN:
        if "webhook" in name:
            # Webhooks only hint: who polls is not touched by what becomes of them.
            table |= dict.fromkeys(directives.written(name), SUCCESS)
    return table


EXPECTED = expected()


class Carried(msgspec.Struct, kw_only=True):
    """What became of one generation, and the last report about it."""

    verdict: tuple[str, str]
    last: ReportEvent
    fetches: int
    jobs: int = 0
    posts: int = 0


def claim_of(number: int, prompt: str) -> Claim:
    """Permission to submit, as the ledger would write it."""
    now = datetime.now(UTC)
    attempt = ClaimedAttempt(
        attempt_id=f"att_{number}",
        number=1,
        # However slow the machine: no submit gets so old here that its absence proves anything.
        started_at=now + timedelta(seconds=45),
        request_id=None,
        urls=None,
    )
    return Claim(
        generation_id=f"gen_{number}",
        fence="1.1",
        lease_until=now + timedelta(seconds=60),
        step=Step.SUBMIT,
        attempt=attempt,
        model="veo",
        provider="fal",
        endpoint=VIDEO,
        output="video",
        input={"prompt": prompt, "duration": "8s"},
        asset_key=f"demo/gen_{number}",
    )


async def carry(claim: Claim, provider: FalQueue, media: MediaStore) -> Carried:
    """Take every step a worker would take, as often as it is worth while."""
    report: ReportEvent = await submit(claim, provider, time.monotonic())
    fetches = 0
    for _ in range(LOOKS_MAX):
        if isinstance(report, SubmittedReport):
            attempt = msgspec.structs.replace(
                claim.attempt, request_id=report.request_id, urls=report.urls
            )
            claim = msgspec.structs.replace(claim, attempt=attempt)
        verdict = verdict_of(report)
        if verdict is not None:
            return Carried(verdict=verdict, last=report, fetches=fetches)
        if not isinstance(report, SubmittedReport):
            await asyncio.sleep(LOOK_PAUSE_SECONDS)
        if claim.attempt.request_id is None:
            report = await find(claim, provider)
        elif isinstance(report, RunningReport) and report.completed:
            claim = msgspec.structs.replace(claim, fetches=fetches)
            report = await fetch(claim, provider, media, time.monotonic())
            fetches += 1
        else:
            report = await poll(claim, provider)
    assert isinstance(report, RunningReport), report
    word = "open" if claim.attempt.request_id else "unknown"
    found = report.error or report.provider_status
    return Carried(verdict=(word, found), last=report, fetches=fetches)


def verdict_of(report: ReportEvent) -> tuple[str, str] | None:
    """A final report in two words; None while there is more to do."""
    match report:
        case SucceededReport():
            return SUCCESS
        case CancelledReport():
            return ("cancelled", "")
        case FailedReport():
            word = "failed" if report.sent else "refused"
            return (f"{word}, to be tried again" if report.retryable else word, report.reason)
        case SubmittedReport() | RunningReport() | SubmissionUnknownReport():
            return None
        case _:
            raise AssertionError(report)


async def carry_all(url: str, folder: Path) -> dict[str, Carried]:
    """All prompts at once: most of the time is spent waiting."""
    provider = FalQueue(
        queue_url=url,
        api_url=f"{url}/v1",
        key=KEY,
        submits_max=len(EXPECTED),
        listing_complete=True,
    )
    media = MediaStore(f"file://{folder}", MediaHosts((url.removeprefix("http://"),)))
    try:
        carried = await asyncio.gather(
            *(
                carry(claim_of(number, prompt), provider, media)
                for number, prompt in enumerate(EXPECTED)
            )
        )
    finally:
        await provider.close()
        await media.close()
    return dict(zip(EXPECTED, carried, strict=True))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Carried]]:
    """Every generation, carried to where it ends."""
    folder = tmp_path_factory.mktemp("fal")
    options = ("--job-seconds", "0.05", "--concurrency", "500")
    with running(folder, *options) as fal:
        carried = asyncio.run(carry_all(fal.url, folder / "media"))
        for prompt, one in carried.items():
            one.jobs = len(fal.accepted(prompt))
        told = fal.http.get("/admin/state").json()["submits"]
        for submitted in told["newest"]:
            number = int(submitted["tags"]["generation"].removeprefix("gen_"))
            carried[list(EXPECTED)[number]].posts += 1
        assert told["asked"] == len(EXPECTED)
        yield carried


def test_every_directive_has_a_verdict() -> None:
    """A new misbehaviour of the emulator needs a line in the table, in each of its forms."""
    written = {text for name in directives.KNOWN for text in directives.written(name)}
    assert written - set(EXPECTED) == set()


@pytest.mark.parametrize("prompt", EXPECTED)
def test_each_misbehaviour_ends_in_its_verdict(outcomes: dict[str, Carried], prompt: str) -> None:
    """Success, refusal, failure or an open end: what the table of errors demands."""
    word, reason = EXPECTED[prompt]
    carried = outcomes[prompt]
    assert carried.verdict[0] == word, carried.last
    if prompt == "[[fal:media-truncated]]":
        # How a broken connection is noticed depends on the moment.
        assert carried.verdict[1].startswith(reason)
    else:
        assert carried.verdict[1] == reason


@pytest.mark.parametrize("prompt", EXPECTED)
def test_no_misbehaviour_makes_it_submit_twice(outcomes: dict[str, Carried], prompt: str) -> None:
    """One attempt is one POST and at most one job, whatever is answered."""
    assert outcomes[prompt].posts == 1
    assert outcomes[prompt].jobs <= 1


@pytest.mark.parametrize(
    ("prompt", "fetches"),
    [
        ("[[fal:quiet-status]]", FETCHES_MAX),
        ("[[fal:retryable=false]][[fal:quiet-status]]", 1),
        ("[[fal:fail=internal_server_error]][[fal:quiet-status]]", 1),
        ("[[fal:result-500]]", 2),
    ],
)
def test_a_failure_that_may_pass_is_asked_again_so_often(
    outcomes: dict[str, Carried], prompt: str, fetches: int
) -> None:
    """At once where fal says that it is final, or the model does; never for ever."""
    assert outcomes[prompt].fetches == fetches


def test_a_success_is_measured_and_not_believed(outcomes: dict[str, Carried]) -> None:
    """The length of a film is that of the file, whatever the result says of it."""
    honest, wrong = (
        outcomes[prompt].last for prompt in ("[[fal:big-result]]", "[[fal:media-wrong-length]]")
    )
    assert isinstance(honest, SucceededReport)
    assert isinstance(wrong, SucceededReport)
    assert (honest.asset.duration_seconds, wrong.asset.duration_seconds) == (8.0, 4.0)
    assert honest.billable_units == wrong.billable_units == "8"


def test_a_submit_says_how_urgent_it_is() -> None:
    """In the header that fal has for it."""
    told: list[str] = []

    class Queue(QuietHandler):
        def do_POST(self) -> None:
            told.append(self.headers["X-Fal-Queue-Priority"])
            self.reply(200, b'{"request_id": "req-1"}')

    async def submit_each(url: str) -> None:
        provider = FalQueue(queue_url=url, api_url=url, key=KEY)
        for number, priority in enumerate(JobPriority):
            claim = msgspec.structs.replace(claim_of(number, "a boat"), priority=priority)
            await provider.submit(claim)
        await provider.close()

    with serving(Queue) as address:
        asyncio.run(submit_each(f"http://{address}"))
    assert told == ["normal", "low"]
