"""Hole 27 and what else may go wrong between the provider's file and ours."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from job_worker import downloads
from job_worker.downloads import MediaHosts
from job_worker.errors import ProviderRejected
from job_worker.media import MediaStore
from job_worker.settings import read_settings
from tests.fixtures.checker import check
from tests.fixtures.customer import Customer
from tests.fixtures.serving import QuietHandler, serving
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow

SMALL_MAX_BYTES = 100_000
NEEDED = {
    "LEDGER_URL": "http://127.0.0.1:1",
    "LEDGER_WORK_KEY": "x",
    "VALKEY_URL": "redis://127.0.0.1:1/0",
    "FAL_KEY": "x",
    "STORAGE_URL": "file:///tmp",
}


def hosts(**environment: str) -> MediaHosts:
    """Where a worker with these settings takes media from."""
    return MediaHosts(read_settings({**NEEDED, **environment}).fal_media_hosts)


def test_hole_27_the_hosts_of_media_are_named(tmp_path: Path) -> None:
    """A result was copied when its host contained `fal.ai`, which the real ones do not; and a host
    is never taken for another because one's name contains the other's."""
    usual = hosts()
    for host in ("fal.media", "v3.fal.media", "v3b.fal.media"):
        assert usual.admits(f"https://{host}/files/a.mp4")
    elsewhere = "https://storage.googleapis.com/falserverless/a.mp4"
    assert not usual.admits(elsewhere)
    assert hosts(FAL_MEDIA_HOSTS="*.fal.media,storage.googleapis.com").admits(elsewhere)
    for host in ("evil.example/fal.media", "fal.media.evil.example", "notfal.media", "10.0.0.1"):
        assert not usual.admits(f"https://{host}/a.mp4")


@pytest.mark.parametrize("way", ["foreign", "redirect", "private"])
def test_hole_27_what_is_not_in_our_storage_is_no_success(
    stack: Stack, customer: Customer, way: str
) -> None:
    """What was not copied was a success all the same, under an address that soon led nowhere."""
    customer.order(f"a boat elsewhere [[fal:media-{way}]]", "failed")
    kept = customer.order("a paper boat")
    customer.wait()
    check(stack, customer)
    shown = customer.generations()
    assert shown[kept.generation_id]["result"]["url"].startswith(stack.env["LEDGER_URL"])
    assert "media.invalid" not in str(shown)


@contextmanager
def endless_film() -> Iterator[str]:
    """A server that sends a film of no stated length until nobody listens; its `host:port`."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"\0" * 10_000)
            except OSError:
                return

    with serving(Handler) as host:
        yield host


def test_hole_27_a_file_that_hides_its_length_is_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound was compared with the stated length alone: without one anything went through."""
    monkeypatch.setattr(downloads, "ASSET_MAX_BYTES", SMALL_MAX_BYTES)

    async def copy(host: str) -> None:
        store = MediaStore(f"file://{tmp_path}", MediaHosts((host,)))
        try:
            await store.copy(f"http://{host}/film.mp4", "gen/1", "video")
        finally:
            await store.close()

    with endless_film() as host, pytest.raises(ProviderRejected) as caught:
        asyncio.run(copy(host))
    assert caught.value.reason == "media_too_large"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:169.254.169.254"),
        *("64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1"),
    ],
)
def test_hole_27_an_address_of_our_own_network_is_never_a_provider_s(address: str) -> None:
    """However it is written, and whatever name led there."""
    assert not downloads._may_be_reached("v3.fal.media", address)
    assert not MediaHosts(("10.0.0.1",)).admits("https://10.0.0.1/a")
    assert downloads._may_be_reached("v3.fal.media", "8.8.8.8")
    assert downloads._may_be_reached("v3.fal.media", "64:ff9b::8.8.8.8")


def test_hole_27_a_name_that_came_to_point_at_us_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name on the list may resolve to anything by the time it is asked for: the address that the
    connection would go to is judged, and nobody there hears of it."""
    heard = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.reply(200, b"secrets of the machine")

    async def fetch(url: str) -> None:
        hosts = MediaHosts((host, host.replace("127.0.0.1", "localhost"), "*.fal.media"))
        found = downloads.Downloads(hosts, connections_max=1)
        try:
            await found.fetch(url, io.BytesIO())
        finally:
            await found.close()

    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )
    with serving(Handler) as host:
        port = host.rpartition(":")[2]
        asyncio.run(fetch(f"http://localhost:{port}/a"))  # loopback by name, as the emulator is
        with pytest.raises(ProviderRejected) as caught:
            asyncio.run(fetch("https://v3.fal.media/a"))
    assert (caught.value.reason, heard) == ("media_refused", ["/a"])


def test_a_broken_storage_delays_a_result_and_costs_nobody_anything(
    stack: Stack, customer: Customer
) -> None:
    """A copy that failed left the provider's address, which lives an hour: now the copy is made
    again until it is there, and nothing is generated or charged a second time."""
    aside = stack.media.with_name("media-aside")
    stack.media.rename(aside)
    try:
        stack.media.write_text("a file where the folder should be")
        order = customer.order("a paper boat")
        eventually(lambda: "storage_" in stack.worker.text(), "a copy that fails")
        assert customer.open()
    finally:
        stack.media.unlink()
        aside.rename(stack.media)
    customer.wait()
    check(stack, customer)
    (submit,) = stack.submits(generation=order.generation_id)
    assert submit["billed"]
