"""fal's listing as a whole: every request once, of one stretch of time, and whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from job_worker.errors import ProviderUnavailable
from job_worker.providers.fal import LISTING_PAGE_ITEMS, FalQueue
from job_worker.providers.port import Listed
from tests.fixtures.fal_emulator import IMAGE, VIDEO, running
from tests.fixtures.serving import QuietHandler, serving

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)


def listing(api_url: str, since: datetime, until: datetime) -> list[Listed]:
    """Everything that is listed of two endpoints."""

    async def read() -> list[Listed]:
        queue = FalQueue(queue_url="http://127.0.0.1:1", api_url=api_url, key="id:one")
        try:
            requests = queue.list_requests([VIDEO, IMAGE], since, until)
            return [request async for request in requests]
        finally:
            await queue.close()

    return asyncio.run(read())


def test_all_pages_of_all_endpoints_are_read(tmp_path: Path) -> None:
    """More than fit on a page, each once; nothing of another time."""
    with running(tmp_path, "--job-seconds", "0") as fal:
        ids = [
            fal.submit(f"boat {n}", headers={"x-fal-tags": f"generation=g,attempt=a{n}"})
            for n in range(LISTING_PAGE_ITEMS)
        ]
        ids += [fal.submit("a picture", endpoint=IMAGE), fal.submit("[[fal:422]]")]
        now = datetime.now(UTC)
        found = listing(f"{fal.url}/v1", now - HOUR, now + HOUR)
        assert listing(f"{fal.url}/v1", now - 2 * HOUR, now - HOUR) == []
    assert sorted(each.request_id for each in found) == sorted(job["request_id"] for job in ids)
    by_id = {each.request_id: each for each in found}
    assert by_id[ids[7]["request_id"]].attempt_id == "a7"
    assert by_id[ids[7]["request_id"]].was_made
    assert by_id[ids[-2]["request_id"]].endpoint == IMAGE
    assert by_id[ids[-2]["request_id"]].attempt_id is None
    assert not by_id[ids[-1]["request_id"]].was_made


@contextmanager
def provider_that_says(*items: dict[str, Any]) -> Iterator[str]:
    """A listing without tags, which shows what was sent only to those who ask for it."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            """Answer with one page."""
            asked = "payloads" in parse_qs(urlsplit(self.path).query).get("expand", [])
            shown = [
                {k: v for k, v in item.items() if asked or k != "json_input"} for item in items
            ]
            body = msgspec.json.encode({"items": shown, "next_cursor": None})
            self.reply(200, body)

    with serving(Handler) as host:
        yield f"http://{host}/v1"


def test_without_tags_the_seed_is_asked_for() -> None:
    """What was sent tells whose it is, and is read only where tags are not shown."""
    now = datetime.now(UTC)
    item = {"request_id": "r", "endpoint_id": VIDEO, "sent_at": now.isoformat()}
    with provider_that_says(item | {"json_input": {"seed": 77}}) as url:
        (found,) = listing(url, now - HOUR, now + HOUR)
    assert (found.mark, found.attempt_id, found.ended_at) == ("77", None, None)


def test_an_item_that_says_too_little_makes_the_listing_unreadable() -> None:
    """To leave it out could be to overlook a bill."""
    now = datetime.now(UTC)
    with (
        provider_that_says({"request_id": "r", "endpoint_id": VIDEO}) as url,
        pytest.raises(ProviderUnavailable, match="unreadable"),
    ):
        listing(url, now - HOUR, now + HOUR)
