"""Quotes prove themselves: nobody can make, change or move one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.limits import QUOTE_ID_MAX_CHARACTERS
from contracts.problems import ProblemCode
from ledger_service.errors import Rejected
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.document import shipped
from ledger_service.generations.quotes import PURPOSE, Quotes
from ledger_service.signing import Signer
from tests.fixtures.naive_prices import least_input

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIFE = timedelta(minutes=10)
SIGNER = Signer(b"a secret of this test")
QUOTES = Quotes(SIGNER, LIFE)
MODEL = "veo-3.1-lite"
INPUT: dict[str, Any] = {"prompt": "a boat", "duration": "6s", "generate_audio": False}
LINE = Catalogue(shipped()).offer(MODEL).price(INPUT)
QUOTE = QUOTES.make("demo", MODEL, INPUT, LINE, NOW)


def refusal(quote_id: str, tenant: str = "demo", **other: Any) -> Rejected:
    """Why a quote does not hold."""
    asked: dict[str, Any] = {"model": MODEL, "content": INPUT} | other
    with pytest.raises(Rejected) as refused:
        QUOTES.read(quote_id, tenant, **asked)
    assert refused.value.code is ProblemCode.QUOTE_NOT_FOUND
    return refused.value


def test_a_quote_says_what_was_promised() -> None:
    """The line, and until when, to the millisecond."""
    promise = QUOTES.read(QUOTE.quote_id, "demo", MODEL, INPUT)
    assert (promise.line, promise.ends_at) == (LINE, NOW + LIFE)
    assert (QUOTE.price, QUOTE.expires_at, QUOTE.lines) == (LINE.total, NOW + LIFE, (LINE,))


def test_the_order_of_an_inputs_names_means_nothing() -> None:
    """The same input written in another way is the same input."""
    turned = dict(reversed(INPUT.items()))
    assert QUOTES.read(QUOTE.quote_id, "demo", MODEL, turned).line == LINE


def test_a_quote_for_something_else_says_for_what_it_is_not() -> None:
    """Its own tenant hears which of model and input differs; defaults spelled out do differ."""
    other = INPUT | {"resolution": "720p"}
    told = refusal(QUOTE.quote_id, content=other).errors
    assert [error.pointer for error in told] == ["/input"]
    told = refusal(QUOTE.quote_id, model="veo-3.1", content=other).errors
    assert [error.pointer for error in told] == ["/model", "/input"]


def test_a_quote_of_another_tenant_is_none() -> None:
    """And nothing is told of it, not even that it exists."""
    assert refusal(QUOTE.quote_id, tenant="other", model="veo-3.1").errors == ()


@given(st.integers(0, len(QUOTE.quote_id) - 1), st.characters())
def test_whatever_is_changed_it_is_no_quote_any_more(place: int, letter: str) -> None:
    """Every character counts."""
    quote_id = QUOTE.quote_id[:place] + letter + QUOTE.quote_id[place + 1 :]
    if quote_id != QUOTE.quote_id:
        assert refusal(quote_id).errors == ()


@given(st.text(max_size=300))
def test_no_text_passes_for_a_quote(text: str) -> None:
    """Anything may be sent."""
    refusal(text)
    refusal(f"qte_{text}")


def test_another_secret_or_purpose_makes_no_quotes() -> None:
    """Nor do signatures that we gave away for something else."""
    forged = Quotes(Signer(b"another secret"), LIFE).make("demo", MODEL, INPUT, LINE, NOW)
    refusal(forged.quote_id)
    body = QUOTE.quote_id[len("qte_") : -64]
    refusal(f"qte_{body}{SIGNER.sign('webhook', body)}")
    refusal(f"qte_AAAA{SIGNER.sign(PURPOSE, 'AAAA')}")  # by other code under the same secret


def test_an_id_is_short_enough_for_every_model_and_tells_nothing_of_the_input() -> None:
    """It is kept for ever beside the generation."""
    catalogue = Catalogue(shipped())
    for model in catalogue.models():
        content = least_input(model.input_schema)
        line = catalogue.offer(model.model).price(content)
        made = QUOTES.make("t" * 64, model.model, content, line, NOW)
        assert len(made.quote_id) < QUOTE_ID_MAX_CHARACTERS / 2
    wordy = INPUT | {"prompt": "x" * 5_000}
    same = QUOTES.make("demo", MODEL, wordy, LINE, NOW)
    assert len(same.quote_id) == len(QUOTE.quote_id)
