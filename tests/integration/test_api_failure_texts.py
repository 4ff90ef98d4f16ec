"""Failures over HTTP in the reader's language, and first answers that know of none."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.streaming import Stream

pytestmark = pytest.mark.slow

BODY: dict[str, Any] = {"model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
SAID = "Prompt refused by checker 7."
FAILED = {"type": "failed", "reason": "content_policy_violation", "message": SAID}
TEXTS = {
    "en": "The provider's rules do not allow this content. Please describe it differently."
    " The credits came back.",
    "tr": "Sağlayıcının kuralları bu içeriğe izin vermiyor. Lütfen farklı bir şekilde tarif edin."
    " Krediler iade edildi.",
    "es": "Las normas del proveedor no permiten este contenido. Descríbalo de otra manera."
    " Los créditos se han devuelto.",
}


class Failing:
    """An account with one generation that has failed."""

    def __init__(self, ledger: LiveLedger, report: dict[str, Any]) -> None:
        self.caller = ledger.caller
        self.account_id, worker = new_account(), HandWorker(ledger.worker)
        ledger.caller.grant(self.account_id, 100)
        self.first = self.order()
        self.generation_id = expect(202, self.first)["generation"]["generation_id"]
        self.path = f"/v1/generations/{self.generation_id}"
        expect(200, worker.report(worker.claim(self.generation_id), report))

    def order(self, **headers: str) -> httpx.Response:
        """Ask for it, or ask again."""
        body = {"account_id": self.account_id, **BODY}
        return self.caller.post("/v1/generations", body, key="order", **headers)

    def read(self, method: str, path: str, language: str | None) -> httpx.Response:
        """Any answer that shows it."""
        headers = {} if language is None else {"Accept-Language": language}
        return self.caller.http.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, "en"),
        ("tr-TR, en;q=0.8", "tr"),
        ("de, es;q=0.3", "es"),
        ("de", "en"),
        ("tr;;q=", "en"),
    ],
)
def test_a_failure_is_told_in_the_readers_language(
    ledger: LiveLedger, asked: str | None, told: str
) -> None:
    """Wherever the generation is shown; the key is the same in all, and so are fal's own words."""
    failing = Failing(ledger, FAILED)
    listed = f"/v1/generations?account_id={failing.account_id}"
    answers = [
        failing.read("GET", failing.path, asked),
        failing.read("GET", listed, asked),
        failing.read("DELETE", failing.path, asked),
    ]
    for answer in answers:
        shown = expect(200, answer)
        (generation,) = shown.get("items", [shown])
        assert generation["failure"] == {
            "reason": "content_policy_violation",
            "message_key": "failure.content_policy",
            "message": TEXTS[told],
            "provider_message": SAID,
            "retryable": False,
        }
        assert answer.headers["Content-Language"] == told
        assert answer.headers["Vary"] == "Accept-Language"


def test_a_stream_speaks_the_language_too(ledger: LiveLedger) -> None:
    """Its head says which."""
    failing = Failing(ledger, FAILED)
    path, headers = f"{failing.path}/events", {"Accept-Language": "tr"}
    with failing.caller.http.stream("GET", path, headers=headers) as answer:
        assert answer.headers["Content-Language"] == "tr"
        event = Stream(answer).next()
    assert event["data"]["failure"]["message"] == TEXTS["tr"]


def test_our_own_reasons_come_without_a_providers_words(ledger: LiveLedger) -> None:
    """Cancelled before anybody had it; a reason that nobody knows gets the text for all others."""
    failing = Failing(ledger, {"type": "failed", "reason": "never_heard_of"})
    failure = expect(200, failing.read("GET", failing.path, "es"))["failure"]
    assert (failure["reason"], failure["message_key"], failure["provider_message"]) == (
        "never_heard_of",
        "failure.provider_error",
        None,
    )
    body = {"account_id": failing.account_id, **BODY}
    made = expect(202, ledger.caller.post("/v1/generations", body))["generation"]
    path = f"/v1/generations/{made['generation_id']}/cancel"
    answer = failing.read("POST", path, "es")
    failure = expect(202, answer)["failure"]
    assert (failure["message_key"], failure["provider_message"]) == ("failure.cancelled", None)
    assert failure["message"] == "Se canceló. Los créditos se han devuelto."
    assert answer.headers["Content-Language"] == "es"


def test_a_first_answer_is_the_same_in_every_language(ledger: LiveLedger) -> None:
    """A replay is the first answer byte for byte, whoever asks again."""
    failing = Failing(ledger, FAILED)
    again = failing.order(**{"Accept-Language": "tr"})
    assert (again.status_code, again.content) == (202, failing.first.content)
    assert again.headers["Generation-Status"] == "failed"
    assert "Content-Language" not in again.headers
