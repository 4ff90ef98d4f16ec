"""Small rules of the worker: which hosts it fetches from, how it marks a submit, its settings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.jobs import Claim, ClaimedAttempt, ProviderUrls, Step
from contracts.limits import POST_WINDOW_SECONDS
from job_worker.downloads import MediaHosts
from job_worker.errors import BadSettings
from job_worker.providers.fal import (
    SUBMIT_TIMEOUT_SECONDS,
    FalQueue,
)
from job_worker.providers.fal_listing import attempt_seed
from job_worker.providers.wire import CONNECT_TIMEOUT_SECONDS
from job_worker.settings import read_settings
from job_worker.steps.find import SETTLED_AFTER_SECONDS

HOSTS = MediaHosts(("fal.media", "*.fal.media", "127.0.0.1:9000"))
COMPLETE = {
    "LEDGER_URL": "http://127.0.0.1:1/",
    "LEDGER_WORK_KEY": "ck_a_canary",
    "VALKEY_URL": "redis://:canary@127.0.0.1:2/0",
    "FAL_KEY": "id:canary",
    "STORAGE_URL": "file:///var/media",
}


@pytest.mark.parametrize(
    "url",
    [
        "https://fal.media/files/a.mp4",
        "https://v3.fal.media/files/a.mp4",
        "https://V3B.FAL.MEDIA:443/a",
        "http://127.0.0.1:9000/files/a.mp4",
    ],
)
def test_known_hosts_are_admitted(url: str) -> None:
    """The provider's hosts by https, and a loopback emulator by its exact port."""
    assert HOSTS.admits(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://v3.fal.media/a",
        "https://fal.media.evil.test/a",
        "https://evilfal.media/a",
        "https://v3.fal.media:8443/a",
        "https://v3.fal.media@evil.test/a",
        "https://user:secret@v3.fal.media/a",
        "https://evil.test/#.fal.media",
        "http://127.0.0.1:9001/a",
        "http://127.0.0.1/a",
        "http://localhost:9000/a",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]:9000/a",
        "http://2130706433:9000/a",
        "file:///etc/passwd",
        "data:video/mp4;base64,AAAA",
        "https://v3.fal.media:port/a",
        "https:///a",
        "",
    ],
)
def test_every_other_address_is_refused(url: str) -> None:
    """Other hosts, other ports, plain http, credentials and tricks of spelling are refused."""
    assert not HOSTS.admits(url)


def claim(**changes: Any) -> Claim:
    """A claim to poll, with changes."""
    attempt = ClaimedAttempt(
        attempt_id="att_1",
        number=1,
        started_at=datetime.now(UTC),
        request_id="req/1",
        urls=changes.pop("urls", None),
    )
    fields: dict[str, Any] = {
        "generation_id": "gen_1",
        "fence": "1.1",
        "lease_until": datetime.now(UTC),
        "step": Step.POLL,
        "attempt": attempt,
        "model": "m",
        "provider": "fal",
        "endpoint": "fal-ai/veo3.1/lite",
        "output": "video",
        "input": {},
        "asset_key": "k",
    }
    return Claim(**(fields | changes))


def urls_at(origin: str) -> ProviderUrls:
    """A submit answer's URLs on some origin."""
    return ProviderUrls(status=f"{origin}/s", response=f"{origin}/r", cancel=f"{origin}/c")


def test_urls_of_the_answer_are_used_on_the_queue_s_own_origin_only() -> None:
    """The key goes to the configured queue and nowhere else; other URLs are built anew."""
    queue = FalQueue(queue_url="https://queue.fal.run", api_url="https://api.test/v1", key="k")
    own = urls_at("https://queue.fal.run/x")
    assert queue._urls_of(claim(urls=own)) == own
    base = "https://queue.fal.run/fal-ai/veo3.1/requests/req%2F1"
    built = ProviderUrls(status=f"{base}/status", response=base, cancel=f"{base}/cancel")
    foreign = ["https://evil.test", "http://queue.fal.run", "https://queue.fal.run:444"]
    for urls in (None, *map(urls_at, foreign)):
        assert queue._urls_of(claim(urls=urls)) == built


def test_a_namespace_belongs_to_the_application_s_name() -> None:
    """Workflows have three segments in their URLs where models have two."""
    queue = FalQueue(queue_url="https://q.test", api_url="https://api.test/v1", key="k")
    urls = queue._urls_of(claim(endpoint="workflows/owner/app/rest"))
    assert urls.response == "https://q.test/workflows/owner/app/requests/req%2F1"


def test_a_seed_marks_an_attempt() -> None:
    """Seeds are stable, fit 31 bits, and differ between attempts."""
    seeds = {attempt_seed(f"att_{number}") for number in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert attempt_seed("att_1") == attempt_seed("att_1")


def test_settings_have_defaults_for_the_real_provider() -> None:
    """With the five variables that have no default, the worker speaks to fal.ai itself."""
    settings = read_settings(COMPLETE)
    assert settings.fal_queue_url == "https://queue.fal.run"
    assert settings.fal_media_hosts == ("fal.media", "*.fal.media")
    assert settings.ledger_url == "http://127.0.0.1:1"
    assert not settings.provider_listing_complete


def test_settings_hide_their_secrets() -> None:
    """Neither representation nor text of the settings shows a key or a password."""
    settings = read_settings(COMPLETE)
    assert "canary" not in f"{settings!r}{settings}{settings.fal_key}"
    assert msgspec.structs.asdict(settings)["fal_key"].value == "id:canary"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LEDGER_URL", "127.0.0.1:8080"),
        ("VALKEY_URL", "http://127.0.0.1"),
        ("STORAGE_URL", "file://relative/path"),
        ("STORAGE_URL", "s3:///no-bucket"),
        ("WORKER_PLACES", "0"),
        ("WORKER_PROCESSES", "many"),
        ("PROVIDER_LISTING_COMPLETE", "yes"),
    ],
)
def test_senseless_settings_are_named(name: str, text: str) -> None:
    """A setting that makes no sense is refused by name, without repeating its value."""
    with pytest.raises(BadSettings) as caught:
        read_settings(COMPLETE | {name: text})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [name]
    assert text not in caught.value.faults[0].replace("127.0.0.1", "")


def test_absence_counts_only_when_no_submit_can_be_on_its_way() -> None:
    """A POST may begin until the window closes, and then take as long as its own time limits."""
    longest = POST_WINDOW_SECONDS + CONNECT_TIMEOUT_SECONDS + SUBMIT_TIMEOUT_SECONDS
    assert longest < SETTLED_AFTER_SECONDS
