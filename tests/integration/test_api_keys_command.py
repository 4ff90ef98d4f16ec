"""`keys`: the operator's way to API keys."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.live import environment
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


class Operator:
    """Runs `keys` against one database."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._env = environment(database, folder)

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run it; returns what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "ledger_service", "keys", *arguments],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Operator:
    """An operator of a fresh database."""
    return Operator(database, tmp_path)


def test_a_key_is_made_listed_and_revoked(operator: Operator, tmp_path: Path) -> None:
    """The key is printed once, or written to a file for its owner's eyes; lists never show it."""
    create = ("create", "--tenant", "acme", "--scopes", "grant spend,read")
    key = operator.run(*create, "--name", "checkout").strip()
    file = tmp_path / "key"
    key_id = operator.run(*create, "--name", "quiet", "--secret-file", str(file)).strip()
    assert file.read_text().startswith(f"ck_{key_id}_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = operator.run("list", "--tenant", "acme")
    assert listed.count("in force") == 2
    assert "grant spend read  checkout" in listed
    assert key.split("_")[2] not in listed
    assert operator.run("list", "--tenant", "other") == ""
    operator.run("revoke", key_id, "--tenant", "other", status=1)
    operator.run("revoke", key_id, "--tenant", "acme")
    listed = operator.run("list", "--tenant", "acme")
    assert (listed.count("in force"), listed.count("revoked")) == (1, 1)


def test_keys_chosen_elsewhere_are_registered_again_and_again(
    operator: Operator, tmp_path: Path
) -> None:
    """Doing it twice changes nothing; what is no key is refused whole."""
    file = tmp_path / "keys.json"
    key = "ck_abc_" + "0" * 64
    file.write_text(f'[{{"tenant":"t","name":"n","scopes":["read"],"key":"{key}"}}]')
    for _ in range(2):
        operator.run("ensure", "--file", str(file))
    assert operator.run("list", "--tenant", "t").count("in force") == 1
    for wrong in ("[{}]", "nonsense", file.read_text().replace("ck_", "xx_")):
        file.write_text(wrong)
        operator.run("ensure", "--file", str(file), status=1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--tenant", "t", "--scopes", "fly"), "fly"),
        (("--tenant", "t", "--scopes", "work"), "work"),
        (("--scopes", "read"), "work"),
        (("--scopes", "work read"), "work"),
        (("--tenant", "a/b", "--scopes", "read"), "tenant"),
    ],
)
def test_a_key_that_must_not_be_is_refused(
    operator: Operator, arguments: tuple[str, ...], reason: str
) -> None:
    """Work is for keys without a tenant, and only that; a tenant's name holds no slash."""
    said = operator.run("create", "--name", "n", *arguments, status=1)
    assert reason in said
    assert operator.run("list", "--tenant", "t") == ""
