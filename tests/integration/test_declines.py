"""What cannot be had now is refused, unless it was done under the key before, or is being done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.problems import ProblemCode
from ledger_service.domain.commands import Decline, Key, RequestGeneration
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Done
from ledger_service.errors import Rejected
from tests.fixtures.engines import OWNER, grant, key, running_engine, submission
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

GONE = {"note": "gone"}


def ordering(under: Key, **terms: Any) -> RequestGeneration:
    """An order for 20 credits."""
    return RequestGeneration(
        owner=OWNER, key=under, model="boats", price=20, tags=(),
        deadline_after=timedelta(minutes=5), **terms,
    )  # fmt: skip


def declining(under: Key) -> Decline:
    """The same order, once it cannot be had any more."""
    return Decline(owner=OWNER, key=under, code=ProblemCode.MODEL_UNAVAILABLE, fields=GONE)


async def order(engine: Engine, under: Key, **terms: Any) -> Done:
    """Carry out an order."""
    command = ordering(under, **terms)
    return await engine.submit(submission(command, private={"input": {"prompt": "a boat"}}))


def test_a_retry_gets_its_first_answer_while_that_is_still_under_way(database: Database) -> None:
    """An order and fifty retries that find the model gone, all at once: one charge, one answer."""

    async def scenario() -> list[Done]:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            under = key()
            retries = [engine.submit(submission(declining(under))) for _ in range(50)]
            return await asyncio.gather(order(engine, under), *retries)

    first, *again = asyncio.run(scenario())
    assert not first.is_replay
    assert first.answer is not None
    for done in again:
        assert done.is_replay
        assert done.answer is not None
        assert done.answer.position == first.answer.position


def test_a_refusal_takes_no_key_and_changes_nothing(database: Database) -> None:
    """With the numbers that it was given; later the same key may order."""

    async def scenario() -> tuple[Rejected, Done]:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            under = key()
            with pytest.raises(Rejected) as refusal:
                await engine.submit(submission(declining(under)))
            return refusal.value, await order(engine, under)

    refusal, done = asyncio.run(scenario())
    assert (refusal.code, refusal.fields) == (ProblemCode.MODEL_UNAVAILABLE, GONE)
    assert not done.is_replay
    with database.connect() as connection:
        topics = connection.execute("SELECT topic FROM ledger.events ORDER BY position").fetchall()
    assert [topic for (topic,) in topics] == [
        "account_opened.v1", "credits_granted.v1", "credits_debited.v1", "generation_requested.v1",
    ]  # fmt: skip


def test_another_request_under_the_key_is_told_so(database: Database) -> None:
    """A retry is one by its fingerprint, whatever became of what it asks for."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            under = key()
            await order(engine, under)
            with pytest.raises(Rejected) as refusal:
                await engine.submit(submission(declining(under), fingerprint=bytes([1] * 32)))
            assert refusal.value.code is ProblemCode.IDEMPOTENCY_KEY_REUSED

    asyncio.run(scenario())


@pytest.mark.parametrize("offset_seconds", [-1, 3600])
def test_the_ledgers_clock_ends_a_quote(database: Database, offset_seconds: int) -> None:
    """Not the handler's: an order that had to wait is judged when it is decided."""

    async def scenario() -> Done:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            ends_at = datetime.now(UTC) + timedelta(seconds=offset_seconds)
            return await order(engine, key(), quote_id="qte_x", quote_ends_at=ends_at)

    if offset_seconds > 0:
        assert asyncio.run(scenario()).answer is not None
        return
    with pytest.raises(Rejected) as refusal:
        asyncio.run(scenario())
    assert refusal.value.code is ProblemCode.QUOTE_EXPIRED


@pytest.mark.parametrize(
    ("model", "content", "status"), [("no-such", {"prompt": "x"}, 404), ("veo-3.1-lite", {}, 400)]
)
def test_refusals_come_before_the_account_and_in_dry_runs_too(
    ledger: LiveLedger, model: str, content: dict[str, Any], status: int
) -> None:
    """What is wrong with the order is told whether or not there is an account to pay it."""
    body = {"account_id": new_account(), "model": model, "input": content}
    told = expect(status, ledger.caller.post("/v1/generations", body))
    path = "/v1/generations?dry_run=true"
    assert expect(status, ledger.caller.post(path, body, key="")) == told
    assert ledger.caller.get(f"/v1/accounts/{body['account_id']}").status_code == 404
