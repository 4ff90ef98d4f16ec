"""Where the keys of webhooks may come from."""

from __future__ import annotations

from typing import Any

import pytest

from ledger_service.errors import RefusedToStart
from ledger_service.settings import Settings, read_settings


def settings(**given: str) -> Settings:
    """The settings of an environment that says this and what is needed."""
    return read_settings({"DATABASE_URL": "postgresql://ledger.test/ledger", **given})


@pytest.mark.parametrize(
    "url",
    [
        "https://rest.fal.ai/.well-known/jwks.json",
        "https://keys.test:8443/keys?set=1",
        "http://127.0.0.1:8000/jwks.json",
        "http://[::1]:8000/jwks.json",
        "http://localhost/jwks.json",
    ],
)
def test_keys_come_over_tls_or_from_this_machine(url: str) -> None:
    """HTTPS from anywhere, plain HTTP from loopback; fal's own address unless told otherwise."""
    assert settings(FAL_WEBHOOK_JWKS_URL=url).key_set_url() == url
    assert settings().key_set_url() == "https://rest.fal.ai/.well-known/jwks.json"


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.test/jwks.json",
        "http://127.0.0.1.keys.test/jwks.json",
        "ftp://127.0.0.1/jwks.json",
        "file:///etc/jwks.json",
        "https://",
        "https://[keys.test/",
        "https://keys.test:99999/",
        "keys.test/jwks.json",
    ],
)
def test_keys_that_others_could_swap_are_refused(url: str) -> None:
    """What is no such URL stops the process before it serves."""
    with pytest.raises(RefusedToStart, match="FAL_WEBHOOK_JWKS_URL"):
        settings(FAL_WEBHOOK_JWKS_URL=url).key_set_url()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"WEBHOOK_BASE_URL": "https://ledger.test"}, True),
        ({"WEBHOOK_BASE_URL": "https://ledger.test", "FAL_WEBHOOK_SIGNATURES": "off"}, False),
        ({"FAL_WEBHOOK_SIGNATURES": "required"}, False),
    ],
)
def test_signatures_are_asked_for_wherever_there_are_webhooks(
    given: dict[str, Any], expected: bool
) -> None:
    """Unless they are switched off by name; with polling alone there is nothing to verify."""
    assert settings(**given).verifies_webhooks is expected
