"""People are told why a generation failed, in their language, whatever the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.emulators.fal.errors import CATALOGUE
from job_worker.providers.fal_verdicts import CANCELLED_TYPES, RETRYABLE_TYPES
from ledger_service.api.failure_texts import (
    ANY_OTHER,
    CONTENT_REFUSED,
    CREDITS_BACK,
    KEYS,
    TEXTS,
    Text,
    failure_text,
    key_of_reason,
)
from ledger_service.api.languages import Language, language_headers, language_of
from tests.fixtures.reasons import reasons_in_code

OURS = {
    "deadline", "cancelled", "too_many_claims", "too_many_attempts", "no_asset", "media_lost",
    "media_refused", "media_too_large", "media_invalid", "request_lost", "invalid_input",
    "not_sent_in_time", "not_found_at_provider", "provider_unreachable", "provider_busy",
    "provider_paused", "provider_key_refused", "provider_account_locked", "provider_error",
    "client_cancelled",
}  # fmt: skip


def test_every_reason_that_the_code_can_produce_has_a_text() -> None:
    """Our own reasons as they stand in the code, and all that the provider documents."""
    ours = reasons_in_code()
    assert ours >= OURS, "the code is still read as it was meant to be"
    known = ours | RETRYABLE_TYPES | CANCELLED_TYPES | set(CATALOGUE)
    assert known - KEYS.keys() == set()


def test_every_text_exists_in_every_language() -> None:
    """Each its own, and a whole sentence; every key has a reason and every reason a key."""
    assert Text._fields == tuple(Language)
    for text in (*TEXTS.values(), CREDITS_BACK, CONTENT_REFUSED):
        assert all(told.strip() == told and told.endswith(".") for told in text)
        assert len(set(text)) == len(Language)
    assert set(KEYS.values()) == set(TEXTS)
    assert len(set(TEXTS.values())) == len(TEXTS)


def test_a_text_says_that_credits_came_back_if_there_were_any() -> None:
    """What cost nothing gives nothing back; an unknown reason gets the text for all others."""
    assert key_of_reason("never_heard_of") == ANY_OTHER
    for language in Language:
        free = failure_text(ANY_OTHER, language, had_cost=False)
        paid = failure_text(ANY_OTHER, language, had_cost=True)
        assert paid == f"{free} {CREDITS_BACK.told_in(language)}"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ([], "en"),
        ([b""], "en"),
        ([b"tr"], "tr"),
        ([b"ES"], "es"),
        ([b"tr-TR"], "tr"),
        ([b"es-419, es;q=0.9, en;q=0.8"], "es"),
        ([b"de, tr;q=0.2"], "tr"),
        ([b"de"], "en"),
        ([b"*"], "en"),
        ([b"tr;q=0.5, es;q=0.7"], "es"),
        ([b"tr;q=0.5", b"es;q=0.7"], "es"),
        ([b"es, tr"], "es"),
        ([b"tr, es"], "tr"),
        ([b"en;q=0, tr;q=0.001"], "tr"),
        ([b"en;q=0.1, en-GB;q=0.9, es;q=0.5"], "en"),
        ([b"en;q=0, *;q=0.5"], "tr"),
        ([b"en;q=0,tr;q=0,*"], "es"),
        ([b"*;q=0.5, es;q=0.4"], "en"),
        ([b"en;q=0"], "en"),
        ([b"*;q=0"], "en"),
        ([b"tr ; q=0.4\t,\tes ;q=1.000"], "es"),
        ([b"es;q=2, tr;q=0.1"], "tr"),
        ([b"es;q=0.1234, tr;q=0.1"], "tr"),
        ([b"es;level=1, tr;q=0.1"], "tr"),
        ([b"esperanto, tr;q=0.1"], "tr"),
        ([b"espanol, tr_TR, tr;q=0.1"], "tr"),
        ([b"*-TR, es;q=0.1"], "es"),
        ([b",,es,,"], "es"),
        ([b"\xff\xfe, es;q=0.3"], "es"),
    ],
)
def test_the_language_is_the_best_that_both_know(accepted: list[bytes], language: str) -> None:
    """By weight, then by order; what cannot be read was not said."""
    assert language_of(accepted) == language


@given(st.lists(st.binary(max_size=40) | st.text("entrs*-;q=01. ,").map(str.encode), max_size=3))
def test_any_header_leads_to_a_language(accepted: list[bytes]) -> None:
    """Nobody is refused an answer for what their browser says."""
    headers = dict(language_headers(language_of(accepted)))
    assert headers[b"content-language"].decode() in set(Language)
    assert headers[b"vary"] == b"Accept-Language"
