"""What was stored once is understood for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ledger_service.domain.account.equations import check_equations
from ledger_service.domain.account.evolve import evolve
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.events import TOPICS, decode, encode, topic_of
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.events.generation import GenerationEvent
from ledger_service.domain.events.policy import PolicySet
from ledger_service.domain.generation.evolve import evolve_generation
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.policy import Policy
from ledger_service.errors import UnknownTopic
from tests.fixtures.golden import CREDITS_V1, EVENTS_V1, GENERATIONS_V1, ORDERS_V1, Line, read

FILES = [EVENTS_V1, CREDITS_V1, GENERATIONS_V1, ORDERS_V1]
LINES = [line for path in FILES for line in read(path)]


def test_every_topic_has_been_kept() -> None:
    """Each published topic of version 1 stands in the files at least once."""
    published = {topic for topic in TOPICS if topic.endswith(".v1")}
    assert {line.topic for line in LINES} == published


def test_stored_events_read_and_write_to_the_same_bytes() -> None:
    """Decoding and encoding again gives the stored bytes, under the stored topic."""
    for line in LINES:
        event = decode(line.topic, line.state.encode())
        assert topic_of(event) == line.topic
        assert encode(event).decode() == line.state


def folded(
    lines: list[Line],
) -> tuple[dict[str, AccountState], dict[str, GenerationState], dict[str, Policy]]:
    """What a file folds to; each event must bear the balances after it."""
    accounts: dict[str, AccountState] = {}
    generations: dict[str, GenerationState] = {}
    policies: dict[str, Policy] = {}
    for line in lines:
        event = decode(line.topic, line.state.encode())
        if isinstance(event, AccountEvent):
            before = accounts.get(line.stream)
            state = evolve(before, event, line.version, line.recorded_at)
            assert (state.posted, state.held) == (event.posted, event.held)
            check_equations(state)
            accounts[line.stream] = state
        elif isinstance(event, GenerationEvent):
            generations[line.stream] = evolve_generation(
                generations.get(line.stream),
                event,
                line.version,
                line.recorded_at,
                owner=line.owner,
            )
        else:
            assert isinstance(event, PolicySet)
            policies[line.stream] = event.policy
    return accounts, generations, policies


def test_stored_events_fold_to_the_balances_they_bear() -> None:
    """Folding the first file gives known final states."""
    accounts, generations, _ = folded(read(EVENTS_V1))
    assert {owner: (a.posted, a.debt) for owner, a in accounts.items()} == {
        "acme/alice": (35, 0),  # 30 restored, 5 in a grace lot
        "acme/bob": (60, 0),
    }
    assert [(g.status.value, g.refunded) for g in generations.values()] == [
        ("succeeded", 0),
        ("failed", 40),
        ("cancelled", 40),
        ("expired", 0),
    ]


def test_stored_credits_fold_to_the_balances_they_bear() -> None:
    """Holds, claims, transfers, terms and policies: known final states of the second file."""
    accounts, _, policies = folded(read(CREDITS_V1))
    told = {owner: (a.posted, a.held, a.debt, a.status.value) for owner, a in accounts.items()}
    assert told == {
        "acme/alice": (20, 0, 0, "closed"),
        "acme/bob": (0, 0, 0, "merged"),
        "acme/carol": (626, 0, 14, "active"),  # bob's 30 of debt, less 16 that came since
    }
    (plan,) = accounts["acme/carol"].terms.schedules
    assert (plan.period, plan.next_at) == (2, datetime(2030, 3, 31, 7, tzinfo=UTC))
    assert policies["acme/~policy"].expires_after == {"promo": timedelta(days=30)}


def test_an_unknown_topic_stops_the_reader() -> None:
    """An event of a newer version is not guessed at."""
    with pytest.raises(UnknownTopic):
        decode("credits_granted.v99", b"{}")
