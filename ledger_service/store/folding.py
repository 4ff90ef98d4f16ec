"""States from events: accounts at any version, and heads that older code wrote.

Each function is a conversation: it asks for rows by the names of `queries/past.sql` and gets them
sent. So the writer (`converse`), readers (`run_steps_async`) and the follower (`run_steps`) share
it over their connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from datetime import UTC
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from psycopg import AsyncRawCursor

from ledger_service.domain.account.fold import Folded, Happened, fold, missing_lots
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.events.generation import GenerationEvent
from ledger_service.domain.events.policy import PolicySet
from ledger_service.domain.generation.evolve import evolve_generation
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.policy import PolicyState
from ledger_service.errors import Contention, CorruptHistory, Unavailable
from ledger_service.store.arrays import text_array
from ledger_service.store.heads import (
    SNAPSHOT_VERSION,
    decode_account,
    decode_generation,
    decode_lot,
    decode_policy,
    is_old,
)
from ledger_service.store.pool import Connection
from ledger_service.store.statements import load_statements

Result = TypeVar("Result")
Values = tuple[str, ...]
Steps = Generator[tuple[str, Values], list[Any], Result]

SQL: Final = load_statements("past")


class StoredHead(NamedTuple):
    """A head as its row has it."""

    owner: str
    stream: str
    version: int
    snapshot_version: int
    snapshot: bytes


def run_steps(steps: Steps[Result], fetch: Callable[[str, Values], list[Any]]) -> Result:
    """Hold the conversation; `fetch` takes a statement and its parameters as text."""
    try:
        name, values = next(steps)
        while True:
            name, values = steps.send(fetch(SQL[name], values))
    except StopIteration as done:
        result: Result = done.value
        return result


async def converse(
    steps: Steps[Result], fetch: Callable[[str, Values], Awaitable[list[Any]]]
) -> Result:
    """Hold the conversation in an event loop; `fetch` as in `run_steps`."""
    try:
        name, values = next(steps)
        while True:
            name, values = steps.send(await fetch(SQL[name], values))
    except StopIteration as done:
        result: Result = done.value
        return result


async def run_steps_async(steps: Steps[Result], connection: Connection) -> Result:
    """Hold the conversation over a connection of the pool."""
    return await converse(steps, partial(_fetch, connection))


async def fetch_past(connection: Connection, name: str, values: Values) -> list[Any]:
    """The rows of one statement of `queries/past.sql`."""
    return await _fetch(connection, SQL[name], values)


async def _fetch(connection: Connection, statement: str, values: Values) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(statement.encode(), values, binary=True)
    return await cursor.fetchall()


def account_at(owner: str, version: int, events_max: int | None = None) -> Steps[Folded]:
    """The account after an event that it has, from the newest snapshot before it.

    Within one transaction that sees one instant. Raises `CorruptHistory` when the events do not
    fold to the balances that they bear, and `Unavailable` when there are more than `events_max`:
    snapshots are being taken then.
    """
    based_on = yield "base", (owner, str(version), str(SNAPSHOT_VERSION))
    before, since = None, 0
    if based_on:
        since = based_on[0][0]
        before = decode_account(based_on[0][1], SNAPSHOT_VERSION)
    if events_max is not None and version - since > events_max:
        raise Unavailable("the account's snapshots are being taken", retry_after_seconds=30)
    rows = yield "events_between", (owner, owner, str(since), str(version))
    events = [
        Happened(at, account_event(topic, state), when.astimezone(UTC))
        for at, topic, state, when in rows
    ]
    left = []
    if missing := missing_lots(before, events):
        rows = yield "past_lots", (owner, text_array(sorted(missing)), str(since))
        left = [decode_lot(row[0]) for row in rows]
        if len(left) != len(missing):
            raise Contention("the snapshots are being made anew")
    return fold(before, left, events)


def account_head(head: StoredHead) -> Steps[AccountState]:
    """The state in an account's head; if that is old, the account from its events, whole."""
    if not is_old(head.snapshot_version):
        return decode_account(head.snapshot, head.snapshot_version)
    folded = yield from account_at(head.owner, head.version)
    return folded.state


def generation_head(head: StoredHead) -> Steps[GenerationState]:
    """The state in a generation's head, or the same from its events."""
    if not is_old(head.snapshot_version):
        return decode_generation(head.snapshot, head.snapshot_version)
    return (yield from _generation_at(head.owner, head.stream, head.version))


def policy_head(head: StoredHead) -> Steps[PolicyState]:
    """The state in a policy's head, or the same from its newest event."""
    if not is_old(head.snapshot_version):
        return decode_policy(head.snapshot, head.snapshot_version)
    return (yield from _policy_at(head.owner, head.version))


def _generation_at(owner: str, stream: str, version: int) -> Steps[GenerationState]:
    state = None
    for at, topic, stored, when in (yield "events_between", (owner, stream, "0", str(version))):
        event = decode(topic, stored)
        if not isinstance(event, GenerationEvent):
            raise CorruptHistory(f"{stream} {at}: {topic} is of no generation")
        state = evolve_generation(state, event, at, when.astimezone(UTC), owner=owner)
    if state is None:
        raise CorruptHistory(f"{stream}: a head without events")
    return state


def _policy_at(owner: str, version: int) -> Steps[PolicyState]:
    rows = yield "events_between", (owner, owner, str(version - 1), str(version))
    for at, topic, stored, when in rows:
        event = decode(topic, stored)
        if isinstance(event, PolicySet):
            return PolicyState(version=at, recorded_at=when.astimezone(UTC), policy=event.policy)
    raise CorruptHistory(f"{owner}: a head without events")


def account_event(topic: str, state: bytes) -> AccountEvent:
    """A stored event of an account."""
    event = decode(topic, state)
    if not isinstance(event, AccountEvent):
        raise CorruptHistory(f"{topic} stands in the stream of an account")
    return event
