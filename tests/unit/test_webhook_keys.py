"""When the provider's keys are fetched, and when they are not; and what is done without them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger_service.errors import Unavailable
from ledger_service.generations.webhook_keys import (
    FRESH_SECONDS,
    KEPT_SECONDS,
    RENEWAL_PAUSE_SECONDS,
    RETRY_SECONDS,
    ProviderKeys,
)
from tests.fixtures.signing_provider import key_set

OLD, NEW = (key_set(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))


class Desk:
    """Where keys are fetched, and a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.fetches = 0
        self.document: bytes | None = OLD
        self.keys = ProviderKeys(self._fetch, lambda: self.now)

    async def _fetch(self) -> bytes:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.document is None:
            raise Unavailable("nobody there")
        return self.document


def at_a_desk(story: Callable[[Desk], Awaitable[Any]]) -> None:
    """Play a story in an event loop of its own."""

    async def play() -> None:
        await story(Desk())

    asyncio.run(play())


def test_many_webhooks_share_one_fetch() -> None:
    """However many come at once or later, the keys are fetched once in half a day."""

    async def story(desk: Desk) -> None:
        assert desk.fetches == 0
        found = await asyncio.gather(*(desk.keys.known() for _ in range(50)))
        desk.now += FRESH_SECONDS - 1
        assert await desk.keys.known() is found[0]
        assert desk.fetches == 1
        desk.now += 1
        desk.document = NEW
        assert await desk.keys.known() != found[0]
        assert desk.fetches == 2

    at_a_desk(story)


def test_old_keys_serve_a_day_and_no_longer() -> None:
    """While newer ones cannot be had; each pause has one try at most."""

    async def story(desk: Desk) -> None:
        found = await desk.keys.known()
        desk.document = None
        desk.now += KEPT_SECONDS - 1
        for _ in range(10):
            assert await desk.keys.known() is found
        assert desk.fetches == 2
        desk.now += 1
        with pytest.raises(Unavailable):
            await desk.keys.known()

    at_a_desk(story)


@pytest.mark.parametrize("trouble", [None, b"<html>", b'{"keys":[]}'])
def test_without_keys_nothing_is_judged(trouble: bytes | None) -> None:
    """No answer or a useless one: come again, and meanwhile nobody else is made to wait for it."""

    async def story(desk: Desk) -> None:
        desk.document = trouble
        for _ in range(10):
            with pytest.raises(Unavailable) as refused:
                await desk.keys.known()
            assert refused.value.retry_after_seconds == RETRY_SECONDS
        assert desk.fetches == 1
        desk.document = OLD
        desk.now += RETRY_SECONDS
        assert await desk.keys.known()

    at_a_desk(story)


def test_a_new_key_is_asked_for_once_a_minute() -> None:
    """A signature that no key verifies makes us look for a new key, at once but not each time."""

    async def story(desk: Desk) -> None:
        known = await desk.keys.known()
        desk.document = NEW
        renewed = await asyncio.gather(*(desk.keys.renewed(known) for _ in range(20)))
        assert known not in renewed
        assert len(set(map(id, renewed))) == 1
        assert desk.fetches == 2
        for _ in range(20):
            assert await desk.keys.renewed(renewed[0]) is renewed[0]
        assert desk.fetches == 2
        desk.now += RENEWAL_PAUSE_SECONDS
        assert await desk.keys.renewed(renewed[0]) is not renewed[0]
        assert desk.fetches == 3

    at_a_desk(story)


def test_in_doubt_a_new_key_is_not_called_a_forgery() -> None:
    """While the keys cannot be asked for, a signature by an unknown one is to come again; what the
    known keys verify is judged as ever."""

    async def story(desk: Desk) -> None:
        known = await desk.keys.known()
        desk.document = None
        for _ in range(5):
            with pytest.raises(Unavailable) as refused:
                await desk.keys.renewed(known)
            assert 1 <= refused.value.retry_after_seconds <= RENEWAL_PAUSE_SECONDS
        assert desk.fetches == 2
        assert await desk.keys.known() is known
        desk.document = NEW
        desk.now += RENEWAL_PAUSE_SECONDS
        assert await desk.keys.renewed(known) is not known

    at_a_desk(story)
