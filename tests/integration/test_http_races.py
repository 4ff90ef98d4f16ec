"""Many callers at once against two serving processes: the law holds as if they stood in line."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from ledger_service.audit.replay import replay
from tests.fixtures.hand_worker import REFUSED, HandWorker
from tests.fixtures.live import Caller, LiveLedger, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes
from tests.fixtures.tenants import new_tenant

pytestmark = pytest.mark.slow

TIMEOUT_SECONDS = 30.0


@pytest.fixture(scope="module")
def twins(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLedger]:
    """A ledger of two serving processes, for the tests of this module."""
    processes = Processes(tmp_path_factory.mktemp("twins"))
    database = postgres.new_database(TEMPLATE)
    live = serve(processes, database, "--workers", "2")
    yield live
    live.close()
    processes.end_all()
    postgres.drop(database)


class Post(NamedTuple):
    """A request; an empty `key` stands for one of its own."""

    path: str
    body: dict[str, Any]
    key: str = ""


def at_once(
    ledger: LiveLedger, posts: list[Post], caller: Caller | None = None
) -> list[httpx.Response]:
    """Send all of them at the same time, each over a connection of its own."""
    api_key = (caller or ledger.caller).key

    async def send_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            base_url=ledger.url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=len(posts)),
            trust_env=False,
        ) as client:
            return await asyncio.gather(
                *[
                    client.post(
                        post.path,
                        json=post.body,
                        headers={"Idempotency-Key": post.key or f"race-{number}"},
                    )
                    for number, post in enumerate(posts)
                ]
            )

    return asyncio.run(send_all())


def spending(account_id: str, amount: int, key: str = "") -> Post:
    """A spend."""
    return Post(f"/v1/accounts/{account_id}/debits", {"amount": amount, "reason": "race"}, key)


def granting(account_id: str, amount: int, key: str = "") -> Post:
    """A grant."""
    return Post(f"/v1/accounts/{account_id}/grants", {"amount": amount, "source": "promo"}, key)


def refunding(account_id: str, debit_id: str, amount: int | None = None, key: str = "") -> Post:
    """A refund, of all that is left by default."""
    body: dict[str, Any] = {"reason": "race"} | ({"amount": amount} if amount else {})
    return Post(f"/v1/accounts/{account_id}/debits/{debit_id}/refunds", body, key)


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    """How often each status came."""
    return Counter(answer.status_code for answer in answers)


def entries(ledger: LiveLedger, account_id: str) -> list[Any]:
    """The statement, oldest first."""
    found: list[Any] = []
    query: dict[str, Any] = {"limit": 200}
    while True:
        page = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/entries", **query))
        found += page["items"]
        if page["next_cursor"] is None:
            return found[::-1]
        query["cursor"] = page["next_cursor"]


def test_a_balance_for_seven_is_spent_seven_times(twins: LiveLedger) -> None:
    """Of 50 spends at once seven succeed; the others hear what is there, needed and missing."""
    account_id = new_account()
    for amount in (9, 9, 5):  # 23: seven times 3, and 2 that are not enough
        twins.caller.grant(account_id, amount)
    answers = at_once(twins, [spending(account_id, 3)] * 50)
    assert statuses(answers) == {201: 7, 402: 43}
    after = [a.json()["account"]["balance"]["available"] for a in answers if a.is_success]
    assert sorted(after, reverse=True) == [20, 17, 14, 11, 8, 5, 2]
    for refused in (answer.json() for answer in answers if answer.status_code == 402):
        told = refused["code"], refused["available"], refused["required"], refused["shortfall"]
        assert told == ("insufficient_credits", 2, 3, 1)
    assert twins.caller.balance(account_id)["posted"] == 2


@pytest.mark.parametrize("movement", ["grant", "debit", "refund", "generation"])
def test_one_key_has_one_effect_however_many_send_it(twins: LiveLedger, movement: str) -> None:
    """100 requests at once under one key: one effect, 100 equal answers, 99 said to be replays."""
    account_id = new_account()
    twins.caller.grant(account_id, 10_000)
    debit_id = twins.caller.debit(account_id, 50)["debit"]["debit_id"]
    model = expect(200, twins.caller.get("/v1/models"))["items"][0]["model"]
    asked = {"account_id": account_id, "model": model, "input": {"prompt": "a boat"}}
    post = {
        "grant": granting(account_id, 20, "one"),
        "debit": spending(account_id, 20, "one"),
        "refund": refunding(account_id, debit_id, 20, "one"),
        "generation": Post("/v1/generations", asked, "one"),
    }[movement]
    before = len(entries(twins, account_id))
    answers = at_once(twins, [post] * 100)
    assert len(statuses(answers)) == 1
    assert answers[0].status_code == (202 if movement == "generation" else 201)
    assert len({answer.content for answer in answers}) == 1
    replayed = Counter(answer.headers.get("idempotent-replayed") for answer in answers)
    assert replayed == {"true": 99, None: 1}
    assert len(entries(twins, account_id)) == before + 1


def test_one_key_for_two_requests_is_for_the_first_alone(twins: LiveLedger) -> None:
    """Two different bodies race for one key: one of them takes effect once, the other is 422."""
    account_id = new_account()
    twins.caller.grant(account_id, 100)
    posts = [spending(account_id, amount, "shared") for amount in (10, 20)] * 20
    answers = at_once(twins, posts)
    assert statuses(answers) == {201: 20, 422: 20}
    kept = {answer.content for answer in answers if answer.status_code == 201}
    assert len(kept) == 1
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 422}
    assert codes == {"idempotency_key_reused"}
    (spent,) = {answer.json()["debit"]["amount"] for answer in answers if answer.is_success}
    assert twins.caller.balance(account_id)["posted"] == 100 - spent


def test_refunds_at_once_never_exceed_their_debit(twins: LiveLedger) -> None:
    """30 refunds of 7 race for a debit of 100: 14 succeed, and the last 2 are still to be had."""
    account_id = new_account()
    twins.caller.grant(account_id, 100)
    debit_id = twins.caller.debit(account_id, 100)["debit"]["debit_id"]
    answers = at_once(twins, [refunding(account_id, debit_id, 7)] * 30)
    assert statuses(answers) == {201: 14, 409: 16}
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes == {"refund_exceeds_debit"}
    assert twins.caller.balance(account_id)["posted"] == 98
    rest = twins.caller.refund(account_id, debit_id)
    assert (rest["refund"]["amount"], rest["account"]["balance"]["posted"]) == (2, 100)


def test_what_is_left_is_refunded_once(twins: LiveLedger) -> None:
    """20 refunds of "all that is left" race: one takes it all, for the others nothing is left."""
    account_id = new_account()
    twins.caller.grant(account_id, 100)
    debit_id = twins.caller.debit(account_id, 60)["debit"]["debit_id"]
    answers = at_once(twins, [refunding(account_id, debit_id)] * 20)
    assert statuses(answers) == {201: 1, 409: 19}
    debit = expect(200, twins.caller.get(f"/v1/accounts/{account_id}/debits/{debit_id}"))
    assert debit["refunded"] == 60
    assert twins.caller.balance(account_id)["posted"] == 100


def test_first_grants_at_once_open_one_account(twins: LiveLedger) -> None:
    """40 first grants race to open an account: it opens once, and every grant counts."""
    account_id = new_account()
    answers = at_once(twins, [granting(account_id, n) for n in range(1, 41)])
    assert statuses(answers) == {201: 40}
    assert twins.caller.balance(account_id)["posted"] == sum(range(1, 41))
    statement = entries(twins, account_id)
    assert Counter(entry["type"] for entry in statement) == {
        "account_opened": 1,
        "credits_granted": 40,
    }
    assert len({answer.json()["grant"]["grant_id"] for answer in answers}) == 40


def test_an_account_is_opened_once(twins: LiveLedger) -> None:
    """Of 20 who open the same account one does; the others hear that it exists."""
    account_id = new_account()
    answers = at_once(twins, [Post("/v1/accounts", {"account_id": account_id})] * 20)
    assert statuses(answers) == {201: 1, 409: 19}
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"account_exists"}


def test_every_account_ends_where_its_answers_say(twins: LiveLedger) -> None:
    """A mixed burst on few accounts: statements without gaps, balances from accepted answers."""
    chance = random.Random(7)
    accounts = [new_account() for _ in range(3)]
    for account_id in accounts:
        twins.caller.grant(account_id, 60)
    debits = [(a, twins.caller.debit(a, 10)["debit"]["debit_id"]) for a in accounts]
    posts = [
        *[granting(chance.choice(accounts), chance.randint(1, 9)) for _ in range(30)],
        *[spending(chance.choice(accounts), chance.randint(1, 9)) for _ in range(90)],
        *[refunding(*chance.choice(debits), amount=chance.randint(1, 4)) for _ in range(30)],
    ]
    chance.shuffle(posts)
    answers = at_once(twins, posts)
    assert set(statuses(answers)) <= {201, 402, 409}
    for account_id in accounts:
        expected = 50
        for reply in (answer.json() for answer in answers if answer.is_success):
            if reply["account"]["account_id"] == account_id:
                expected += reply.get("grant", {}).get("amount", 0)
                expected += reply.get("refund", {}).get("amount", 0)
                expected -= reply.get("debit", {}).get("amount", 0)
        statement = entries(twins, account_id)
        assert [entry["version"] for entry in statement] == list(range(1, len(statement) + 1))
        assert twins.caller.balance(account_id)["posted"] == expected
        assert statement[-1]["posted_after"] == expected
        assert min(entry["posted_after"] for entry in statement) >= 0
    assert replay(twins.database.url).differences == []


@pytest.mark.parametrize("per", ["account", "tenant"])
def test_no_more_generations_are_under_way_than_a_tenant_allows(
    twins: LiveLedger, per: str
) -> None:
    """Of 40 orders at once as many are taken as there is room for, and the others cost nothing;
    each end makes room for one, and a replay needs none."""
    name = "generations_in_flight_max" if per == "account" else "tenant_generations_in_flight_max"
    tenant = new_tenant(twins, **{name: 3})
    accounts = [new_account() for _ in range(2 if per == "account" else 20)]
    room = 6 if per == "account" else 3
    for account_id in accounts:
        tenant.grant(account_id, 10_000)
    posts = [ordering(account_id) for account_id in accounts] * (40 // len(accounts))
    answers = at_once(twins, posts, tenant)
    assert statuses(answers) == {202: room, 409: 40 - room}
    for refused in (answer.json() for answer in answers if answer.status_code == 409):
        told = refused["code"], refused["limit"], refused["in_flight"], refused["per"]
        assert told == ("limit_reached", 3, 3, per)
    worker = HandWorker(twins.worker)
    ended = next(answer.json() for answer in answers if answer.is_success)
    claim = worker.claim(ended["generation"]["generation_id"])
    expect(200, worker.report(claim, REFUSED))
    more = posts[:20] if per == "tenant" else [ordering(ended["account"]["account_id"])] * 20
    again = at_once(twins, [it._replace(key=f"again-{n}") for n, it in enumerate(more)], tenant)
    assert statuses(again) == {202: 1, 409: 19}
    taken = [n for n, answer in enumerate(answers) if answer.is_success]
    replays = at_once(twins, [posts[n]._replace(key=f"race-{n}") for n in taken], tenant)
    assert [a.content for a in replays] == [answers[n].content for n in taken]
    spent = sum(10_000 - tenant.balance(account_id)["posted"] for account_id in accounts)
    assert spent == 20 * room
    assert replay(twins.database.url).differences == []


@pytest.mark.parametrize("per", ["account", "tenant"])
def test_no_more_generations_are_begun_in_a_day_than_a_tenant_allows(
    twins: LiveLedger, per: str
) -> None:
    """Exactly as many of 60 orders at once, by two processes; the others cost nothing and are told
    when there is room again. A replay needs none."""
    name = "generations_per_day_max" if per == "account" else "tenant_generations_per_day_max"
    tenant = new_tenant(twins, **{name: 7})
    accounts = [new_account() for _ in range(6 if per == "account" else 30)]
    for account_id in accounts:
        tenant.grant(account_id, 10_000)
    posts = [ordering(account_id) for account_id in accounts] * (60 // len(accounts))
    answers = at_once(twins, posts, tenant)
    room = 7 if per == "tenant" else 7 * len(accounts)
    assert statuses(answers) == {202: room, 409: 60 - room}
    for refused in (answer.json() for answer in answers if answer.status_code == 409):
        told = refused["code"], refused["limit"], refused["begun"], refused["per"]
        assert told == ("limit_reached", 7, 7, per)
        assert refused["resets_at"].endswith("T00:00:00Z")
    taken = [n for n, answer in enumerate(answers) if answer.status_code == 202]
    replays = at_once(twins, [posts[n]._replace(key=f"race-{n}") for n in taken], tenant)
    assert [a.content for a in replays] == [answers[n].content for n in taken]
    spent = sum(10_000 - tenant.balance(account_id)["posted"] for account_id in accounts)
    assert spent == 20 * room
    assert replay(twins.database.url).differences == []


def ordering(account_id: str) -> Post:
    """An order of the cheapest model."""
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    return Post("/v1/generations", body)
