"""Webhooks over live HTTP: what is not provably the provider's changes nothing.

The provider here is a real key set behind a real address; `tests/acceptance` plays with the whole
emulator.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from contracts.limits import WEBHOOK_BODY_MAX_BYTES
from deploy.run.child import wait_until
from ledger_service.errors import Unavailable
from ledger_service.generations.key_set_client import DOCUMENT_MAX_BYTES, KeySetClient
from ledger_service.generations.webhook_keys import ProviderKeys
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Database, Processes
from tests.fixtures.signing_provider import (
    USER_ID,
    SigningProvider,
    Webhook,
    key_set,
    signing_provider,
    webhook_path,
)

pytestmark = pytest.mark.slow

STRANGER = Ed25519PrivateKey.generate()
LOST = {"type": "submission_unknown", "reason": "timeout"}


class Verifying:
    """A ledger that takes webhooks of one provider."""

    def __init__(
        self, processes: Processes, database: Database, provider: SigningProvider, **settings: str
    ) -> None:
        told = {
            "WEBHOOK_BASE_URL": "http://127.0.0.1:1",
            "FAL_WEBHOOK_JWKS_URL": provider.url,
            "FAL_WEBHOOK_USER_ID": USER_ID,
        }
        self.provider = provider
        self.ledger = serve(processes, database, **{**told, **settings})
        self.worker = HandWorker(self.ledger.worker)

    def lost_submit(self) -> str:
        """A generation whose submit got no answer: only a webhook may know its request id."""
        account_id = new_account()
        self.ledger.caller.grant(account_id, 100)
        body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
        generation = expect(202, self.ledger.caller.post("/v1/generations", body))["generation"]
        claim = self.worker.claim(generation["generation_id"])
        expect(200, self.worker.report(claim, LOST))
        return str(generation["generation_id"])

    def tell(self, generation_id: str, webhook: Webhook | None = None) -> tuple[int, str]:
        """Deliver a webhook; returns the status and the problem's code, if it is one."""
        answer = (webhook or self.provider.webhook()).send(self.ledger, webhook_path(generation_id))
        return answer.status_code, answer.json().get("code", "")

    def known(self, generation_id: str) -> tuple[Any, ...]:
        """All that the ledger has of a generation: its version, its head and its job."""
        query = """SELECT heads.*, jobs.* FROM ledger.jobs
            JOIN ledger.heads ON heads.stream LIKE '%%' || jobs.generation_id
            WHERE jobs.generation_id = %s"""
        with self.ledger.database.connect() as connection:
            (row,) = connection.execute(query, [generation_id]).fetchall()
        return tuple(row)

    def status(self, generation_id: str) -> str:
        """Where the generation stands."""
        read = expect(200, self.ledger.caller.get(f"/v1/generations/{generation_id}"))
        return str(read["status"])


@pytest.fixture(scope="module")
def shared(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifying]:
    """A verifying ledger for those tests that do not count its fetches."""
    processes = Processes(tmp_path_factory.mktemp("webhooks"))
    with signing_provider() as provider:
        made = Verifying(processes, postgres.new_database(TEMPLATE), provider)
        yield made
        made.ledger.close()
        processes.end_all()
    assert "Traceback" not in made.ledger.process.text()


Start = Callable[..., Verifying]


@pytest.fixture
def start(database: Database, processes: Processes, provider: SigningProvider) -> Iterator[Start]:
    """Start a verifying ledger of this test alone, with other settings if need be."""
    started: list[Verifying] = []

    def serve_with(**settings: str) -> Verifying:
        started.append(Verifying(processes, database, provider, **settings))
        return started[-1]

    yield serve_with
    for made in started:
        made.ledger.close()
        assert "Traceback" not in made.ledger.process.text()


def test_a_genuine_webhook_heals_a_lost_submit(shared: Verifying) -> None:
    """It alone knows the request, and makes the generation due at once."""
    generation_id = shared.lost_submit()
    assert shared.tell(generation_id) == (200, "")
    claim = shared.worker.claim(generation_id)
    assert (claim["step"], claim["attempt"]["request_id"]) == ("poll", "req-7")
    assert shared.status(generation_id) == "submitted"


def test_a_replayed_webhook_says_nothing_new(shared: Verifying) -> None:
    """Delivered twenty times at once, and again with another request's id: noted once."""
    generation_id, webhook = shared.lost_submit(), shared.provider.webhook()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: shared.tell(generation_id, webhook), range(20)))
    assert set(answers) == {(200, "")}
    assert shared.tell(generation_id, shared.provider.webhook("req-8")) == (200, "")
    log = shared.ledger.caller.http.get("/v1/events", headers={"Accept": "application/x-ndjson"})
    events = [msgspec.json.decode(line) for line in log.text.splitlines()]
    told = [event for event in events if event["stream"].endswith(generation_id)]
    (submitted,) = [event for event in told if event["topic"] == "generation_submitted.v1"]
    assert submitted["data"]["request_id"] == "req-7"
    assert submitted["actor"] == "provider:fal"


def with_headers(webhook: Webhook, **headers: str) -> Webhook:
    """With other parts of its proof than the provider gave it."""
    named = {f"X-Fal-Webhook-{name.title()}": value for name, value in headers.items()}
    return replace(webhook, headers={**webhook.headers, **named})


FORGED: dict[str, Callable[[SigningProvider], Webhook]] = {
    "unsigned": lambda provider: replace(provider.webhook(), headers={}),
    "altered": lambda provider: replace(provider.webhook(), body=b'{"request_id":"req-7"}'),
    "no JSON": lambda provider: replace(provider.webhook(), body=b'{"request_id":'),
    "odd hex": lambda provider: with_headers(provider.webhook(), signature="0x7"),
    "old, under a new time": lambda provider: with_headers(
        provider.webhook(age_seconds=3600), timestamp=str(int(time.time()))
    ),
    "a stranger's key": lambda provider: provider.webhook(key=STRANGER),
    "another user's": lambda provider: provider.webhook(user_id="user_other"),
    "about two requests": lambda provider: provider.webhook(body=b'{"request_id":"req-8"}'),
    "about no request": lambda provider: provider.webhook(body=b'{"status":"OK"}'),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_webhook_changes_nothing(shared: Verifying, kind: str) -> None:
    """A problem document, and the generation is afterwards what it was before."""
    generation_id = shared.lost_submit()
    before = shared.known(generation_id)
    answer = shared.tell(generation_id, FORGED[kind](shared.provider))
    assert answer == (403, "webhook_not_genuine")
    assert shared.known(generation_id) == before


def test_a_stale_webhook_is_a_hint_and_no_more(shared: Verifying) -> None:
    """The provider's own, from long ago: the generation is due now, and its request not known."""
    generation_id = shared.lost_submit()
    path = f"/v1/generations/{generation_id}/claims"
    assert shared.ledger.worker.post(path, {"worker": "by hand"}, key="").status_code == 409
    assert shared.tell(generation_id, shared.provider.webhook(age_seconds=3600)) == (200, "")
    assert shared.status(generation_id) == "submission_unknown"
    assert shared.worker.claim(generation_id)["attempt"]["request_id"] is None


def test_what_is_signed_may_still_be_nonsense(shared: Verifying) -> None:
    """The usual bounds hold for the provider as well: JSON, a header once, a bounded body."""
    generation_id = shared.lost_submit()
    before = shared.known(generation_id)
    bad = [shared.provider.webhook(body=body) for body in (b"{", b"[" * 100, b'{"request_id":7}')]
    assert {shared.tell(generation_id, each) for each in bad} == {(400, "validation_failed")}
    huge = shared.provider.webhook(body=b'"%s"' % (b"x" * WEBHOOK_BODY_MAX_BYTES))
    assert shared.tell(generation_id, huge) == (413, "payload_too_large")
    webhook = shared.provider.webhook()
    twice = [("Content-Type", "application/json"), *webhook.headers.items()]
    twice.append(("X-Fal-Webhook-User-Id", "user_other"))
    answer = shared.ledger.nobody.http.post(
        webhook_path(generation_id), content=webhook.body, headers=twice
    )
    assert expect(400, answer)["code"] == "validation_failed"
    assert shared.known(generation_id) == before


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b"{" * 2_000_000])
def test_without_the_token_nothing_is_even_read(start: Start, content: bytes) -> None:
    """The token is judged first: whoever has none makes us read, parse and fetch nothing."""
    own = start()
    generation_id = own.lost_submit()
    before = own.known(generation_id)
    genuine = webhook_path(generation_id)
    webhook = own.provider.webhook(body=content)
    for path in (genuine[:-1] + "x", genuine.replace("/1/", "/2/"), genuine.replace("gen_", "gen")):
        assert expect(404, webhook.send(own.ledger, path))["code"] == "not_found"
    assert own.known(generation_id) == before
    assert own.provider.fetches == 0


def test_a_rotated_key_is_taken_up(start: Start) -> None:
    """At once with the first webhook that it signed, while the old one stays good; forged ones
    afterwards make nobody ask again."""
    own = start()
    generation_id = own.lost_submit()
    old = own.provider.webhook()
    assert own.tell(generation_id, old) == (200, "")
    own.provider.rotate()
    assert own.tell(generation_id) == (200, "")
    assert own.tell(generation_id, old) == (200, "")
    assert own.provider.fetches == 2
    forged = own.provider.webhook(key=STRANGER)
    assert {own.tell(generation_id, forged) for _ in range(30)} == {(403, "webhook_not_genuine")}
    assert own.provider.fetches == 2


def test_without_keys_a_webhook_is_to_come_again(start: Start) -> None:
    """503 with Retry-After and nothing changed, without a fetch for each; once the keys are there
    it is taken. Work goes on meanwhile: whoever polls needs no keys."""
    own = start()
    working = own.provider.answer
    own.provider.answer = (500, {}, b"")
    generation_id, webhook = own.lost_submit(), own.provider.webhook()
    before = own.known(generation_id)
    answers = [webhook.send(own.ledger, webhook_path(generation_id)) for _ in range(20)]
    assert {answer.json()["code"] for answer in answers} == {"unavailable"}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 5 for answer in answers)
    assert own.known(generation_id) == before
    assert own.provider.fetches < len(answers)
    own.provider.answer = working
    wait_until(lambda: own.tell(generation_id, webhook) == (200, ""), 30.0, "the keys")
    assert own.status(generation_id) == "submitted"


@pytest.mark.parametrize(
    "settings", [{"WEBHOOK_BASE_URL": ""}, {"FAL_WEBHOOK_SIGNATURES": "off"}], ids=["none", "off"]
)
def test_where_nothing_is_verified_nothing_is_believed(
    start: Start, settings: dict[str, str]
) -> None:
    """With polling alone, and with signatures off, no key is ever fetched, and a webhook is a hint
    whoever sent it: it makes the generation due and names no request."""
    own = start(**settings)
    generation_id = own.lost_submit()
    forged = own.provider.webhook(key=STRANGER)
    for webhook in (forged, own.provider.webhook(), replace(forged, headers={})):
        assert own.tell(generation_id, webhook) == (200, "")
    assert own.status(generation_id) == "submission_unknown"
    assert own.worker.claim(generation_id)["attempt"]["request_id"] is None
    assert own.provider.fetches == 0


def test_any_user_passes_where_none_is_pinned(start: Start) -> None:
    """Without a user id of ours, the provider's signature alone decides."""
    own = start(FAL_WEBHOOK_USER_ID="")
    generation_id = own.lost_submit()
    assert own.tell(generation_id, own.provider.webhook(user_id="user_other")) == (200, "")
    assert own.status(generation_id) == "submitted"


GOOD = key_set(STRANGER)


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, GOOD),
        (302, {"Location": "/elsewhere"}, GOOD),
        (200, {}, GOOD + b" " * DOCUMENT_MAX_BYTES),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(GOOD)),
        (200, {"Content-Length": "5000"}, GOOD),
        (200, {"Content-Length": "9" * 30}, GOOD),
        (200, {}, b"<html>"),
    ],
    ids=["missing", "elsewhere", "large", "packed", "cut", "endless", "page"],
)
def test_a_key_set_is_small_and_plain_or_none(
    provider: SigningProvider, answer: tuple[int, dict[str, str], bytes]
) -> None:
    """Whatever else is served there are no keys, and nobody falls over it."""
    keys = ProviderKeys(KeySetClient(provider.url).fetch)
    provider.answer = answer
    with pytest.raises(Unavailable):
        asyncio.run(keys.known())
    assert provider.fetches == 1


def test_a_silent_key_server_is_not_waited_for() -> None:
    """One that is not there, and one that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in (f"http://127.0.0.1:{silent.getsockname()[1]}/", "http://127.0.0.1:1/"):
            with pytest.raises(Unavailable):
                asyncio.run(ProviderKeys(KeySetClient(url).fetch).known())
