"""Which addresses are links of our own: they may stand where a public https address must."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from ledger_service.media.library import MediaLibrary
from ledger_service.signing import Signer

SECRET = b"a-secret-of-tests"


def link(folder: Path, base_url: str, life: timedelta | None = None) -> str:
    """A link as a caller gets it who reached the ledger at this address."""
    made = MediaLibrary(folder.as_uri(), Signer(SECRET))
    return asyncio.run(made.link("uploads/a.png", base_url, life)).url


def is_own(folder: Path, url: str, public_url: str = "", secret: bytes = SECRET) -> bool:
    """Whether a ledger takes it for one of its own."""
    return MediaLibrary(folder.as_uri(), Signer(secret), public_url).is_own_link(url)


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"]
)
def test_a_ledger_that_is_known_nowhere_knows_its_own_machine(
    tmp_path: Path, base_url: str
) -> None:
    """There its emulator fetches what was uploaded."""
    assert is_own(tmp_path, link(tmp_path, base_url))


@pytest.mark.parametrize(
    "base_url",
    [
        *("http://10.0.0.1:8080", "http://127.0.0.1.nip.io", "http://127.0.0.1:8080.example.com"),
        *("http://[::ffff:10.0.0.1]", "https://ledger.example.com", "ftp://127.0.0.1"),
    ],
)
def test_who_names_another_host_makes_no_link_of_ours(tmp_path: Path, base_url: str) -> None:
    """The Host header is the caller's to choose: nobody is sent there on our account."""
    assert not is_own(tmp_path, link(tmp_path, base_url))


def test_a_ledger_that_is_known_somewhere_knows_that_address_alone(tmp_path: Path) -> None:
    """With its path, and without this machine's."""
    known = "https://ledger.example.com/credits"
    assert is_own(tmp_path, link(tmp_path, known), known)
    assert is_own(tmp_path, link(tmp_path, known), f"{known}/")
    for other in ("https://ledger.example.com", "http://127.0.0.1:8080", f"{known}/more"):
        assert not is_own(tmp_path, link(tmp_path, other), known)


def test_a_link_is_ours_by_its_signature_and_for_its_time(tmp_path: Path) -> None:
    """Another ledger's, and one that has expired, open nothing here. Nor does a word that is no
    link at all, however long."""
    url = link(tmp_path, "http://127.0.0.1:8080")
    assert not is_own(tmp_path, url, secret=b"another-ledger-s")
    assert not is_own(tmp_path, link(tmp_path, "http://127.0.0.1:8080", timedelta(seconds=-1)))
    for text in ("", "http://", "http://127.0.0.1:8080/v1/media/", "http://a" + "/a" * 30_000):
        assert not is_own(tmp_path, text)
