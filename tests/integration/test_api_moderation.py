"""The moderation hook, over real HTTP: what it refuses, what its troubles do, and to whom."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from contracts.moderation import SIGNATURE_HEADER, TIMESTAMP_HEADER, is_genuine
from ledger_service.generations.moderation import FAILURES_MAX
from ledger_service.generations.moderation_client import ASKED_AT_ONCE_MAX
from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes
from tests.fixtures.serving import QuietHandler, serving

pytestmark = pytest.mark.slow

SECRET = "between-us-and-the-hook"
ALLOW, REFUSE = b'{"allow": true}', b'{"allow": false, "reason": "minors"}'
PROMPT = "a paper boat"
ORDERS = 2 * ASKED_AT_ONCE_MAX
TEXT = {
    "en": "This content is not allowed here. Please describe it differently.",
    "tr": "Bu içeriğe burada izin verilmiyor. Lütfen farklı bir şekilde tarif edin.",
}


class Hook:
    """An operator's endpoint. `answer`: status and body; `seconds`: how long that takes."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, ALLOW)
        self.seconds = 0.0
        self.asked: list[dict[str, Any]] = []
        self.is_genuine: list[bool] = []

    def handler(self) -> type[QuietHandler]:
        """What serves it."""
        hook = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not body:
                    return  # who asked has gone
                stamp, signed = self.headers[TIMESTAMP_HEADER], self.headers[SIGNATURE_HEADER]
                genuine = is_genuine(SECRET.encode(), stamp, signed, body, time.time())
                hook.is_genuine.append(genuine)
                hook.asked.append(json.loads(body))
                time.sleep(hook.seconds)
                with suppress(ConnectionError):
                    self.reply(*hook.answer)

        return Handler


class Moderated:
    """A ledger with a hook, and an account that can pay."""

    def __init__(self, ledger: LiveLedger, hook: Hook) -> None:
        self.ledger, self.hook = ledger, hook

    def funded(self) -> str:
        """A new account with 100 credits."""
        account_id = new_account()
        self.ledger.caller.grant(account_id, 100)
        return account_id

    def order(
        self, account_id: str, key: str | None = None, *, dry_run: bool = False, **headers: str
    ) -> httpx.Response:
        """Ask for a video that costs 20."""
        body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": PROMPT}}
        path = f"/v1/generations{'?dry_run=true' if dry_run else ''}"
        return self.ledger.caller.post(path, body, key=key, **headers)

    def untouched(self, account_id: str) -> bool:
        """Whether nothing was charged and nothing begun."""
        listed = expect(200, self.ledger.caller.get("/v1/generations", account_id=account_id))
        balance = self.ledger.caller.balance(account_id)
        return (balance["posted"], listed["items"]) == (100, [])


@pytest.fixture(scope="module")
def hook() -> Hook:
    """The endpoint of this module's ledgers."""
    return Hook()


@pytest.fixture(scope="module")
def served(
    hook: Hook, postgres: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, LiveLedger]]:
    """Two ledgers over one database: one refuses and one accepts without a ruling."""
    processes = Processes(tmp_path_factory.mktemp("moderated"))
    database = postgres.new_database(TEMPLATE)
    with serving(hook.handler()) as address:
        told = {"MODERATION_URL": f"http://{address}/rule", "MODERATION_SECRET": SECRET}
        ledgers = {
            policy: serve(processes, database, MODERATION_ON_FAILURE=policy, **told)
            for policy in ("refuse", "accept")
        }
        yield ledgers
        for ledger in ledgers.values():
            ledger.close()
        processes.end_all()
    postgres.drop(database)


@pytest.fixture
def strict(served: dict[str, LiveLedger], hook: Hook) -> Moderated:
    """With a hook that lets everything pass, until a test says otherwise."""
    hook.answer, hook.seconds = (200, ALLOW), 0.0
    hook.asked.clear()
    hook.is_genuine.clear()
    return Moderated(served["refuse"], hook)


@pytest.fixture
def lenient(strict: Moderated, served: dict[str, LiveLedger]) -> Moderated:
    """The same hook, asked by a ledger that does without its ruling if it must."""
    return Moderated(served["accept"], strict.hook)


def test_the_hook_is_told_what_the_model_would_be_told(strict: Moderated) -> None:
    """Who orders what, in a body whose signature proves that the ledger sent it."""
    account_id = strict.funded()
    expect(202, strict.order(account_id))
    body = {"account_id": account_id, "theme": "at-dusk", "subject": "a paper boat"}
    themes = expect(200, strict.ledger.caller.get("/v1/themes"))["items"]
    body["theme"] = themes[0]["theme"]
    expect(202, strict.ledger.caller.post("/v1/generations", body))
    plain, themed = strict.hook.asked
    assert plain == {
        "tenant": "demo", "account_id": account_id, "model": "veo-3.1-lite",
        "input": {"prompt": PROMPT}, "theme": None, "dry_run": False,
    }  # fmt: skip
    assert (themed["theme"], themed["model"]) == (body["theme"], themes[0]["model"])
    assert "a paper boat" in themed["input"]["prompt"]
    assert strict.hook.is_genuine == [True, True]


@pytest.mark.parametrize("language", TEXT)
def test_what_the_hook_refuses_is_not_charged(strict: Moderated, language: str) -> None:
    """A problem with the hook's reason and words for people; nothing is recorded, in earnest or
    in a dry run, and under the same key it may be ordered once it is allowed."""
    account_id = strict.funded()
    strict.hook.answer = (200, REFUSE)
    for dry_run in (True, False):
        refused = strict.order(account_id, "k", dry_run=dry_run, **{"Accept-Language": language})
        problem = expect(422, refused)
        assert (problem["code"], problem["reason"]) == ("content_refused", "minors")
        assert (problem["message_key"], problem["message"]) == ("refusal.content", TEXT[language])
    assert [asked["dry_run"] for asked in strict.hook.asked] == [True, False]
    assert strict.untouched(account_id)
    strict.hook.answer = (200, ALLOW)
    expect(202, strict.order(account_id, "k"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"allow": false, "reason": "Bad Stuff!"}',
        b'{"allow": false, "reason": 7, "more": {}}',
        b'{"allow": false}',
    ],
)
def test_a_refusal_needs_no_reason(strict: Moderated, body: bytes) -> None:
    """What is no code is not passed on, and the order is refused all the same."""
    account_id = strict.funded()
    strict.hook.answer = (200, body)
    problem = expect(422, strict.order(account_id))
    assert (problem["code"], problem["reason"]) == ("content_refused", None)


NO_RULINGS = {
    "an error": (500, ALLOW),
    "no content": (204, b""),
    "no JSON": (200, b"allow"),
    "no text": (200, b'{"allow": true, "reason": "\xff"}'),
    "no ruling": (200, b'{"allow": "yes"}'),
    "nothing said": (200, b"{}"),
    "too much": (200, b'{"allow": true, "reason": "' + b"x" * 5_000 + b'"}'),
}


@pytest.mark.parametrize("trouble", NO_RULINGS)
def test_no_ruling_is_what_the_operator_says(
    strict: Moderated, lenient: Moderated, trouble: str
) -> None:
    """Refused with a 503 to come again, nothing changed; or accepted, where that was chosen. A
    refusal that can be read is one for both."""
    account_id = strict.funded()
    strict.hook.answer = NO_RULINGS[trouble]
    refused = strict.order(account_id)
    assert expect(503, refused)["code"] == "moderation_unavailable"
    assert refused.headers["Retry-After"] == "1"
    assert strict.untouched(account_id)
    expect(202, lenient.order(account_id))
    for moderated in (strict, lenient):  # also ends the row of failures
        strict.hook.answer = (200, REFUSE)
        expect(422, moderated.order(account_id))


@pytest.mark.parametrize("answer", [(200, REFUSE), (500, b"")], ids=["refuses", "broken"])
def test_what_was_accepted_stays_accepted(strict: Moderated, answer: tuple[int, bytes]) -> None:
    """A repeat gets the first answer, byte for byte, whatever the hook would say by now."""
    account_id = strict.funded()
    first = strict.order(account_id, "order")
    strict.hook.answer = answer
    strict.hook.asked.clear()
    again = strict.order(account_id, "order")
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert strict.hook.asked == []
    assert strict.ledger.caller.balance(account_id)["posted"] == 80


def test_a_frozen_hook_holds_nobody_else_up(strict: Moderated) -> None:
    """Many orders at once are all answered, few are with the hook at a time, and who spends or
    repeats meanwhile is served. Once the hook answers again, so are orders."""
    account_id = strict.funded()
    first = strict.order(account_id, "order")
    strict.hook.seconds = 4.0
    with ThreadPoolExecutor(ORDERS) as pool:
        orders = [pool.submit(strict.order, account_id) for _ in range(ORDERS)]
        again = strict.order(account_id, "order")
        strict.ledger.caller.debit(account_id, 1)
        assert not all(order.done() for order in orders)
        codes = {expect(503, order.result())["code"] for order in orders}
    assert (again.status_code, again.content) == (202, first.content)
    assert codes == {"moderation_unavailable"}
    assert len(strict.hook.asked) <= 1 + ASKED_AT_ONCE_MAX + FAILURES_MAX
    strict.hook.seconds = 0.0
    while strict.order(account_id).status_code != 202:
        time.sleep(0.05)  # until the pause is over
    assert strict.ledger.caller.balance(account_id)["posted"] == 100 - 20 - 1 - 20
