"""What an operator may set, and what is refused at the start."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.problems import ProblemCode
from job_worker.errors import BadSettings
from job_worker.settings import read_settings as read_worker_settings
from ledger_service.api.metrics import expect_token
from ledger_service.errors import RefusedToStart, Rejected
from ledger_service.settings import read_settings

NEEDED = {"DATABASE_URL": "postgresql://nowhere/ledger"}
WORKER = {
    "LEDGER_URL": "http://nowhere",
    "LEDGER_WORK_KEY": "x",
    "VALKEY_URL": "redis://nowhere",
    "FAL_KEY": "x",
    "STORAGE_URL": "file:///nowhere",
}


@pytest.mark.parametrize("token", ["short", "with a blank in its midst", "ü" * 20, "x" * 257])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    """And not told in the error."""
    with pytest.raises(RefusedToStart) as refused:
        read_settings({**NEEDED, "METRICS_TOKEN": token})
    assert "metrics" in str(refused.value).lower()
    assert token not in str(refused.value)


def test_unless_it_is_said_otherwise_there_are_no_figures_and_deadlines_decide() -> None:
    """Nothing is open, and nobody's patience ends, without a setting."""
    settings = read_settings(NEEDED)
    assert settings.metrics_token == ""
    assert settings.provider_patience is None
    patient = read_settings({**NEEDED, "PROVIDER_DOWN_REFUND_SECONDS": "90"})
    assert patient.provider_patience == timedelta(seconds=90)


@pytest.mark.parametrize("authorization", [None, b"", b"Bearer ", b"Bearer x"])
def test_without_a_token_there_are_no_figures(authorization: bytes | None) -> None:
    """Also for who sends none."""
    with pytest.raises(Rejected) as rejected:
        expect_token(b"", authorization)
    assert rejected.value.code is ProblemCode.NOT_FOUND


def test_a_worker_compares_only_with_keys_to_the_log() -> None:
    """One for each tenant, with commas; blanks are nothing."""
    assert read_worker_settings(WORKER).audit_keys == ()
    several = read_worker_settings({**WORKER, "LEDGER_AUDIT_KEY": " one, two,,"})
    assert [key.value for key in several.audit_keys] == ["one", "two"]
    assert "one" not in repr(several)


@pytest.mark.parametrize("port", ["-1", "65536", "metrics"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """By its name."""
    with pytest.raises(BadSettings, match="WORKER_METRICS_PORT"):
        read_worker_settings({**WORKER, "WORKER_METRICS_PORT": port})
