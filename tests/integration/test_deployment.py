"""What operators look at: figures for a collector, the deployment's health, daily comparisons.

Most of it is set up once, and looked at once: figures are kept for a few seconds.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from contracts.client import LedgerRejected, WorkClient
from contracts.jobs import ReportEvent
from contracts.presence import BreakerState
from contracts.reconciling import (
    Drift,
    Finding,
    ReconciliationClaim,
    ReconciliationReportRequest,
    Report,
)
from job_worker.breaker import Breaker
from job_worker.carrying import Carrier, Held
from job_worker.crew import Crew
from job_worker.errands import Errands
from job_worker.errors import ProviderRejected, SideUnreadable
from job_worker.metrics import Metrics, StateFigures
from job_worker.presence import Presence
from ledger_service.api.failure_texts import KEYS
from ledger_service.generations.endings import EndingCount
from ledger_service.store.figures import FigureReads, Figures
from ledger_service.store.pool import ReadPool
from ledger_service.store.reconciliations import DAYS_MAX
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import METRICS_TOKEN, LiveLedger, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes

pytestmark = pytest.mark.slow

Sample = tuple[str, frozenset[tuple[str, str]]]
Samples = dict[Sample, float]

VERDICT = {"type": "failed", "reason": "content_policy_violation"}
NEVER_HEARD_OF = {"type": "failed", "reason": "a_reason_of_its_own"}
FINDING = Finding(drift=Drift.FOREIGN_FILE, count=3, examples=({"key": "holiday.mp4"},))


@pytest.fixture(scope="module")
def own(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLedger]:
    """A ledger of this module alone: its figures are of nobody else."""
    processes = Processes(tmp_path_factory.mktemp("deployment"))
    settings = {"PROVIDER_DOWN_REFUND_SECONDS": "0.001"}
    live = serve(processes, postgres.new_database(TEMPLATE), **settings)
    yield live
    live.close()
    processes.end_all()
    assert "Traceback" not in live.process.text()


class Looked:
    """What an operator and a collector saw of the same scene."""

    def __init__(self, ledger: LiveLedger) -> None:
        self.samples = scrape(ledger)
        self.health = expect(200, ledger.operator.get("/v1/health"))


@pytest.fixture(scope="module")
def looked(own: LiveLedger) -> Looked:
    """Three generations failed, one is under way; two workers, one of them before a locked account;
    a day that was compared; and nobody leads the clockwork."""
    hand = HandWorker(own.worker)
    ended = [order(own) for _ in range(3)]
    order(own)
    for generation_id, report in zip(ended, (VERDICT, VERDICT, NEVER_HEARD_OF), strict=True):
        claim = hand.claim(generation_id)
        told = hand.report(claim, {"type": "submitted", "request_id": f"r-{generation_id}"})
        claim = expect(200, told)["next_claim"]
        if report is NEVER_HEARD_OF:  # its webhook had been there a while before
            with own.database.connect() as connection:
                connection.execute(
                    "INSERT INTO ledger.verdicts_heard VALUES (%s, now() - interval '7 s')",
                    [generation_id],
                )
        assert expect(200, hand.report(claim, report))["accepted"]
    asyncio.run(count_endings(own))
    say_present(own, "worker-1", open_breaker(seconds_left=90))
    say_present(own, "worker-2", {"name": "fal", "state": "closed"})
    errand(own, found)
    expect(404, own.caller.get("/v1/generations/gen_nobody"))
    expect(404, own.caller.get("/nowhere/at/all"))
    expect(404, own.nobody.post("/v1/webhooks/fal/gen_nobody/1/made-up", {}))
    return Looked(own)


def order(ledger: LiveLedger) -> str:
    """A generation that is due, on an account of its own; returns its id."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    generation = expect(202, ledger.caller.post("/v1/generations", body))["generation"]
    return str(generation["generation_id"])


async def count_endings(ledger: LiveLedger, times: int = 2) -> None:
    """As the clockwork does, and once more, which must change nothing."""
    async with await psycopg.AsyncConnection.connect(
        ledger.database.url, autocommit=True, cursor_factory=psycopg.AsyncRawCursor
    ) as connection:
        for _ in range(times):
            await EndingCount(frozenset(KEYS)).turn(connection)


def open_breaker(**said: Any) -> dict[str, Any]:
    """What a process says that is certain that the account is locked."""
    return {
        "name": "fal",
        "state": "open",
        "reason": "provider_account_locked",
        "for_seconds": 30,
        "held_back": 12,
        "is_certain": True,
        **said,
    }


def say_present(ledger: LiveLedger, worker: str, *providers: dict[str, Any]) -> Any:
    """A worker's process is there; what it hears of its peers."""
    body = {"worker": worker, "carried": 2, "places": 32, "providers": providers}
    return expect(200, ledger.worker.post("/v1/work/presence", body, key=""))["pauses"]


async def found(claim: ReconciliationClaim) -> Report:
    """A comparison that finds files of nobody."""
    return Report(
        since=claim.since, until=claim.until, generations=4, attempts=5, requests=6, files=7,
        unmarked=0, unconfirmed=0, findings=(FINDING,),
    )  # fmt: skip


async def unreadable(_: ReconciliationClaim) -> Report:
    """A comparison that cannot be made."""
    raise SideUnreadable("storage", "nobody there")


def errand(ledger: LiveLedger, compare: Callable[[ReconciliationClaim], Awaitable[Report]]) -> bool:
    """A worker asks for a day and has it compared; whether there was one."""

    async def scenario() -> bool:
        key = ledger.worker.key or ""
        async with WorkClient(ledger.url, key, worker="worker-1") as client:
            return await Errands(client, compare).turn()

    return asyncio.run(scenario())


def scrape(ledger: LiveLedger) -> Samples:
    """Every sample by its name and labels, save for that of the process."""
    answer = ledger.holder_of(METRICS_TOKEN).get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        sample_of(sample.name, **{k: v for k, v in sample.labels.items() if k != "process"}): (
            sample.value
        )
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def sample_of(name: str, **labels: str) -> Sample:
    """How a sample is found."""
    return name.removeprefix("credit_ledger_"), frozenset(labels.items())


@pytest.mark.parametrize("token", [None, "", "a-token-of-somebody-else", METRICS_TOKEN + " "])
def test_figures_are_for_who_has_the_token(own: LiveLedger, token: str | None) -> None:
    """Neither nobody nor an API key sees them."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}x"}
    assert own.nobody.http.get("/metrics", headers=headers).status_code == 401
    assert own.operator.get("/metrics").status_code == 401


def test_requests_and_batches_are_counted(looked: Looked) -> None:
    """By route, never by address; and what the engine did for them."""
    samples = looked.samples
    route = {"method": "POST", "route": "/v1/generations"}
    assert samples[sample_of("http_requests_total", **route, **{"class": "2xx"})] == 4
    assert samples[sample_of("http_request_seconds_count", **route)] == 4
    assert samples[sample_of("http_request_seconds_bucket", **route, le="+Inf")] == 4
    missing = {"method": "GET", "route": "/v1/generations/{generation_id}", "class": "4xx"}
    assert samples[sample_of("http_requests_total", **missing)] == 1
    elsewhere = {"method": "any", "route": "elsewhere", "class": "4xx"}
    assert samples[sample_of("http_requests_total", **elsewhere)] == 1
    webhook = "/v1/webhooks/fal/{generation_id}/{attempt}/{token}"
    hinted = {"method": "POST", "route": webhook, "class": "4xx"}
    assert samples[sample_of("http_requests_total", **hinted)] == 1
    assert samples[sample_of("webhooks_total", result="unknown_address")] == 1
    written = [n for (name, labels), n in samples.items()
               if name == "engine_batches_total" and ("outcome", "appended") in labels]  # fmt: skip
    assert sum(written) >= 8
    assert samples[sample_of("engine_batch_commands_count")] >= sum(written)
    assert samples[sample_of("engine_batches_in_flight")] == 0
    assert samples[sample_of("engine_unknown_outcomes_total")] == 0
    assert samples[sample_of("turned_away_requests_total")] == 0


def test_endings_and_refunds_are_counted_once(looked: Looked) -> None:
    """By outcome and reason, of which there is a bounded number; refunds by how long they took
    after the provider's word."""
    samples = looked.samples
    ended = {of: n for (name, of), n in samples.items() if name == "generations_ended_total"}
    known = {"outcome": "failed", "reason": "content_policy_violation"}
    other = {"outcome": "failed", "reason": "other"}
    assert ended == {frozenset(known.items()): 2, frozenset(other.items()): 1}
    upto = [samples[sample_of("refund_delay_seconds_bucket", le=le)] for le in ("0", "5", "10")]
    assert upto == [2, 2, 3]
    assert 7 <= samples[sample_of("refund_delay_seconds_sum")] < 60


def test_work_is_seen_as_it_stands(looked: Looked) -> None:
    """What is under way, what waits, and how far followers are; the same in both documents."""
    samples, health = looked.samples, looked.health
    assert health["jobs"] == {"requested": 1}
    assert health["due"] == samples[sample_of("jobs_due")] == 1
    assert samples[sample_of("jobs", status="requested")] == 1
    behind = {each["name"]: each["behind"] for each in health["followers"]}
    assert behind["endings"] == 0
    assert behind["reads"] == health["log_position"] == samples[sample_of("log_position")]
    assert samples[sample_of("database_up")] == 1
    assert health["clockwork_leads"] is False


def test_what_needs_somebody_is_named(looked: Looked) -> None:
    """Each concern by its name, and nothing that is well."""
    assert looked.health["concerns"] == ["no_clockwork", "provider_paused", "drift"]
    concerns = {dict(labels)["concern"]: n for (name, labels), n in looked.samples.items()
                if name == "concern"}  # fmt: skip
    assert {name for name, n in concerns.items() if n} == set(looked.health["concerns"])


def test_a_breaker_is_seen_by_the_operator(looked: Looked) -> None:
    """A provider looks as to the worst off of the workers."""
    (provider,) = looked.health["providers"]
    assert 30 <= provider.pop("for_seconds") < 60
    assert provider == {
        "name": "fal", "state": "open", "reason": "provider_account_locked", "held_back": 12,
        "open_workers": 1, "workers": 2,
    }  # fmt: skip
    assert [each["worker"] for each in looked.health["workers"]] == ["worker-1", "worker-2"]
    states = [looked.samples[sample_of("provider_breaker_workers", provider="fal", state=state)]
              for state in ("closed", "open", "probing")]  # fmt: skip
    assert states == [1, 1, 0]


def test_a_days_drift_is_seen_by_the_operator(own: LiveLedger, looked: Looked) -> None:
    """In the health document and the figures the counts, in the list all that was reported; and a
    line in the log."""
    assert looked.health["drifts"] == {"foreign_file": 3}
    assert looked.samples[sample_of("reconciliation_drift", drift="foreign_file")] == 3
    (day,) = expect(200, own.operator.get("/v1/reconciliations"))["items"]
    assert day["day"] == looked.health["reconciled_day"]
    assert day["report"]["findings"][0]["examples"] == [{"key": "holiday.mp4"}]
    assert expect(200, own.operator.get("/v1/reconciliations", before=day["day"]))["items"] == []
    assert "disagree on " + day["day"] + ": 3 foreign_file" in own.process.text()


def test_nobody_is_kept_waiting_for_a_locked_provider(own: LiveLedger, looked: Looked) -> None:
    """Where the operator has set a bound: refunded when it has passed, long before the deadline."""
    generation_id = order(own)
    hand = HandWorker(own.worker)
    held_back = {"type": "failed", "reason": "provider_paused", "sent": False, "retryable": True}
    assert expect(200, hand.report(hand.claim(generation_id), held_back))["accepted"]
    generation = expect(200, own.caller.get(f"/v1/generations/{generation_id}"))
    assert generation["status"] == "failed"
    assert generation["failure"]["reason"] == "provider_down"
    assert generation["failure"]["message_key"] == "failure.provider_closed"
    assert own.caller.balance(generation["account_id"])["posted"] == 100


def test_peers_hear_of_what_is_certain_alone(own: LiveLedger) -> None:
    """The longest pause that another process has found of the account; nobody hears their own, nor
    what may be one job's or one machine's trouble."""
    say_present(own, "a", open_breaker(seconds_left=90))
    say_present(own, "b", open_breaker(seconds_left=120))
    say_present(own, "c", open_breaker(seconds_left=300, is_certain=False))
    say_present(own, "d", open_breaker(seconds_left=300, reason="provider_key_refused"))
    say_present(own, "e", open_breaker(seconds_left=300, state="probing"))
    (heard,) = say_present(own, "f", {"name": "fal", "state": "closed"})
    assert (heard["name"], heard["reason"]) == ("fal", "provider_account_locked")
    assert 110 < heard["seconds_left"] <= 120
    (heard,) = say_present(own, "b", open_breaker(seconds_left=120))
    assert 80 < heard["seconds_left"] <= 90
    with own.database.connect() as connection:
        connection.execute("UPDATE ledger.presence SET seen_at = seen_at - interval '3 minutes'")
    assert say_present(own, "f") == []


def idle_crew(client: WorkClient) -> Crew:
    """A worker's crew that carries nothing."""

    async def perform(held: Held) -> ReportEvent:
        raise AssertionError(held)

    return Crew(Carrier(client, perform), places=4)


def test_a_worker_heeds_what_its_peers_have_found(own: LiveLedger) -> None:
    """It says how it stands, hears in the answer, and sends nothing any more."""
    say_present(own, "a", open_breaker(seconds_left=90))
    breaker = Breaker("fal")

    async def scenario() -> None:
        async with WorkClient(own.url, own.worker.key or "", worker="heeding") as client:
            for _ in range(2):
                await Presence(client, {"fal": breaker}, idle_crew(client)).say()

    asyncio.run(scenario())
    seen = breaker.seen()
    assert (seen.state, seen.reason) == (BreakerState.OPEN, "provider_account_locked")
    assert seen.seconds_left > 90 - 10
    with pytest.raises(ProviderRejected, match="provider_paused"):
        breaker.admit()


@pytest.fixture
def unreported(own: LiveLedger) -> LiveLedger:
    """No day has been compared, or is being compared."""
    with own.database.connect_owner() as connection:
        connection.execute("DELETE FROM ledger.reconciliations")
    return own


def yesterday() -> str:
    """The day that is to be compared: the last one that ended two hours ago or longer."""
    return str((datetime.now(UTC) - timedelta(days=1, hours=2)).date())


def claim_day(ledger: LiveLedger, worker: str = "w") -> Any:
    """Ask for a day to compare."""
    body = {"worker": worker}
    return expect(200, ledger.worker.post("/v1/work/reconciliations", body, key=""))["claim"]


def days_claimed(ledger: LiveLedger) -> list[int]:
    """All that there is to compare now: how many days before the newest that is over."""
    newest = date.fromisoformat(yesterday())
    claims = iter(lambda: claim_day(ledger), None)
    return [(newest - date.fromisoformat(claim["day"])).days for claim in claims]


def know_day(ledger: LiveLedger, days_back: int) -> None:
    """The newest day that was compared, so long before the newest that is over."""
    with ledger.database.connect_owner() as connection:
        connection.execute("DELETE FROM ledger.reconciliations")
        connection.execute(
            "INSERT INTO ledger.reconciliations (day, report, reported_at)"
            " VALUES (%s::date - %s, '{}', now())",
            [yesterday(), days_back],
        )


def test_days_that_nobody_asked_about_are_compared_after_all(unreported: LiveLedger) -> None:
    """Each since the newest that is known, the newest first, as far back as days are handed out;
    where none is known, the newest alone."""
    assert days_claimed(unreported) == [0]
    assert days_claimed(unreported) == []
    for known, missing in ((0, []), (1, [0]), (4, [0, 1, 2, 3])):
        know_day(unreported, known)
        assert days_claimed(unreported) == missing
    know_day(unreported, 40)
    age = (datetime.now(UTC).date() - date.fromisoformat(yesterday())).days
    assert days_claimed(unreported) == list(range(DAYS_MAX - age))


def end_lease(ledger: LiveLedger) -> None:
    """Whoever is at a day has not been heard of for long."""
    with ledger.database.connect() as connection:
        connection.execute("UPDATE ledger.reconciliations SET lease_until = now() - interval '1 s'")


def test_a_day_is_given_to_one_worker_and_after_its_death_to_another(
    unreported: LiveLedger,
) -> None:
    """The first one's report comes too late, and the second one's stays, however often it comes."""
    first = claim_day(unreported)
    assert (first["day"], first["fence"]) == (yesterday(), 1)
    assert claim_day(unreported) is None
    end_lease(unreported)
    second = claim_day(unreported)
    assert (second["day"], second["fence"]) == (first["day"], 2)

    def report(fence: int, **said: Any) -> Any:
        body = {"day": first["day"], "fence": fence, **said}
        return unreported.worker.post("/v1/work/reconciliations/reports", body, key="")

    told = {"since": first["since"], "until": first["until"], "findings": []}
    told |= dict.fromkeys(
        ("generations", "attempts", "requests", "files", "unmarked", "unconfirmed"), 1
    )
    assert expect(409, report(1, report=told))["code"] == "stale_fence"
    assert expect(409, report(1))["code"] == "stale_fence"
    assert expect(200, report(2))["lease_seconds"] > 0
    assert expect(400, report(2, report=told, trouble="both"))["code"] == "validation_failed"
    assert expect(200, report(2, report=told))["lease_seconds"] is None
    assert expect(200, report(2, report=told | {"files": 2}))["lease_seconds"] is None
    expect(409, report(2))
    end_lease(unreported)
    assert claim_day(unreported) is None
    (day,) = expect(200, unreported.operator.get("/v1/reconciliations"))["items"]
    assert day["report"]["files"] == 1


def test_a_day_that_met_trouble_is_tried_again(unreported: LiveLedger) -> None:
    """What kept it from being compared is shown until it has been."""
    assert errand(unreported, unreadable)
    assert not errand(unreported, found)  # not at once
    (day,) = expect(200, unreported.operator.get("/v1/reconciliations"))["items"]
    assert day["trouble"] == "the storage could not be read: nobody there"
    assert day["report"] is None
    end_lease(unreported)
    assert errand(unreported, found)
    (day,) = expect(200, unreported.operator.get("/v1/reconciliations"))["items"]
    assert (day["trouble"], day["report"]["requests"]) == (None, 6)


def test_a_report_of_newer_code_takes_nothing_else_away(
    unreported: LiveLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """Where both serve, the older ones have figures without it, and say so once."""
    assert errand(unreported, found)
    with unreported.database.connect() as connection:
        connection.execute(
            "UPDATE ledger.reconciliations SET report = "
            "convert_to(replace(convert_from(report, 'UTF8'), %s, 'a_newer_drift'), 'UTF8')",
            [Drift.FOREIGN_FILE],
        )

    async def figures() -> Figures:
        pool = ReadPool(unreported.database.url)
        await pool.open()
        try:
            return [await FigureReads(pool).read() for _ in range(2)][-1]
        finally:
            await pool.close()

    assert asyncio.run(figures()).reconciled is None
    assert caplog.text.count("newer than this code") == 1
    (day,) = expect(200, unreported.operator.get("/v1/reconciliations"))["items"]
    assert day["reported_at"] is not None
    assert day["report"] is None


def test_a_report_that_is_refused_is_a_trouble(unreported: LiveLedger) -> None:
    """One that is too large would else be made again and again, and nobody would know why."""

    async def endless(claim: ReconciliationClaim) -> Report:
        finding = replace(FINDING, examples=({"keys": ["holiday.mp4"] * 10_000},))
        return replace(await found(claim), findings=(finding,))

    assert errand(unreported, endless)
    (day,) = expect(200, unreported.operator.get("/v1/reconciliations"))["items"]
    assert day["trouble"] == "the ledger refuses the report: payload_too_large"


def test_a_worker_that_lost_its_day_is_refused(unreported: LiveLedger) -> None:
    """It asks for another one, as if it had reported."""

    async def slowly(claim: ReconciliationClaim) -> Report:
        end_lease(unreported)
        assert claim_day(unreported)["fence"] == claim.fence + 1
        return await found(claim)

    assert errand(unreported, slowly)
    (day,) = expect(200, unreported.operator.get("/v1/reconciliations"))["items"]
    assert day["report"] is None

    async def too_late() -> None:
        async with WorkClient(unreported.url, unreported.worker.key or "", worker="w") as client:
            request = ReconciliationReportRequest(day=datetime.now(UTC).date(), fence=1)
            await client.report_reconciliation(request)

    with pytest.raises(LedgerRejected, match="stale_fence"):
        asyncio.run(too_late())


def test_the_guide_lists_every_figure(own: LiveLedger, looked: Looked) -> None:
    """Those of the ledger and of the workers: no more, no fewer."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "operate.md"
    tables = page.read_text().partition("## Figures")[2].partition("## Alarms")[0]
    listed = set(re.findall(r"`(credit_ledger_\w+?)(?:_total)?`", tables))
    served = own.holder_of(METRICS_TOKEN).get("/metrics").text
    metrics = Metrics()
    crew = idle_crew(WorkClient(own.url, "", worker="w"))
    metrics.registry.register(StateFigures(lambda: [], crew))
    text = served + generate_latest(metrics.registry).decode()
    assert listed == {family.name for family in text_string_to_metric_families(text)}
