"""What the moderation hook's receiver can verify, and where the hook may be."""

from __future__ import annotations

import pytest

from contracts.moderation import AGE_MAX_SECONDS, is_genuine, signature_of
from ledger_service.errors import RefusedToStart
from ledger_service.settings import Settings, read_settings

SECRET, NOW, BODY = b"a-secret-of-sixteen", 1_764_080_000, b'{"tenant":"demo"}'
STAMP = str(NOW)
SIGNATURE = signature_of(SECRET, STAMP, BODY)


def settings(**given: str) -> Settings:
    """The settings of an environment that says this and what is needed."""
    return read_settings({"DATABASE_URL": "postgresql://ledger.test/ledger", **given})


def test_a_signature_is_what_anybody_can_compute() -> None:
    """As documented, with nothing but a standard library; the value never changes."""
    assert SIGNATURE == "58ebaa9ded408136c014e0475dfe115c8b07644e89e45dc388ae4eb764650835"
    assert is_genuine(SECRET, STAMP, SIGNATURE, BODY, NOW + AGE_MAX_SECONDS)
    assert is_genuine(SECRET, STAMP, SIGNATURE, BODY, NOW - AGE_MAX_SECONDS)


@pytest.mark.parametrize(
    ("secret", "timestamp", "signature", "body", "now"),
    [
        (b"another-secret-of-16", STAMP, SIGNATURE, BODY, NOW),
        (SECRET, str(NOW + 1), SIGNATURE, BODY, NOW),
        (SECRET, STAMP, SIGNATURE[:-1] + "x", BODY, NOW),
        (SECRET, STAMP, "", BODY, NOW),
        (SECRET, STAMP, "é" * 64, BODY, NOW),
        (SECRET, STAMP, SIGNATURE, BODY + b" ", NOW),
        (SECRET, STAMP, SIGNATURE, BODY, NOW + AGE_MAX_SECONDS + 1),
        (SECRET, "soon", signature_of(SECRET, "soon", BODY), BODY, NOW),
        (SECRET, "9" * 5_000, signature_of(SECRET, "9" * 5_000, BODY), BODY, NOW),
    ],
    ids=["secret", "time", "digit", "none", "letters", "body", "age", "no time", "long time"],
)
def test_what_was_altered_or_kept_is_not_genuine(
    secret: bytes, timestamp: str, signature: str, body: bytes, now: int
) -> None:
    """Nor does any of it raise."""
    assert not is_genuine(secret, timestamp, signature, body, now)


def test_a_hook_needs_a_secret_and_a_private_way() -> None:
    """HTTPS, or this machine; without a hook nothing is needed."""
    told = {"MODERATION_SECRET": SECRET.decode()}
    for url in ("https://hook.test/rule", "http://127.0.0.1:8000/rule"):
        assert settings(MODERATION_URL=url, **told).moderation() == (url, SECRET)
    assert settings(**told).moderation() is None
    with pytest.raises(RefusedToStart, match="MODERATION_URL"):
        settings(MODERATION_URL="http://hook.test/rule", **told).moderation()
    with pytest.raises(RefusedToStart, match="MODERATION_SECRET"):
        settings(MODERATION_URL="https://hook.test/rule").moderation()
    with pytest.raises(RefusedToStart, match="environment"):
        settings(MODERATION_ON_FAILURE="shrug")
