"""fal.ai's queue over HTTP: submit, find, status, cancel, result.

The one rule above all: **a submit is never repeated here.** fal knows no idempotency key, so two
POSTs are two jobs and two bills. A submit ends in one of three ways: accepted, certainly not sent
or refused, or unknown; the ledger decides what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from contracts.jobs import Claim, ProviderUrls
from contracts.limits import ASSETS_MAX
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.providers import fal_verdicts
from job_worker.providers.fal_listing import (
    ENDPOINTS_MAX,
    LISTING_PATH,
    attempt_seed,
    cursor_of,
    is_ours,
    items_of,
    listed,
    request_id_of,
    shows_tags,
    takes_seed,
)
from job_worker.providers.port import Accepted, Listed, Result, Status

CONNECT_TIMEOUT_SECONDS: Final = 2.0
SUBMIT_TIMEOUT_SECONDS: Final = 10.0
READ_TIMEOUT_SECONDS: Final = 8.0
READ_CONNECTIONS_MAX: Final = 8
"""Few, because each call looks at all of them."""
ANSWER_MAX_BYTES: Final = 4 * 1024**2
MEDIA_LIFE_SECONDS: Final = 3 * 24 * 3600
"""How long fal keeps the media: we copy them at once, so this only has to outlast our outages."""
LISTING_BEFORE: Final = timedelta(seconds=60)
LISTING_AFTER: Final = timedelta(seconds=120)
"""The stretch of the listing, around the attempt's start, that a lost submit is looked for in."""
FIND_PAGES_MAX: Final = 10
LISTING_PAGE_ITEMS: Final = 50
LISTING_PAGES_MAX: Final = 20_000
"""Of a whole listing: a million requests, more than a comparison should hold."""

_NAMESPACES: Final = frozenset({"workflows", "comfy"})
"""First path segments that belong to the application's name."""


class FalQueue:
    """fal's queue under one key: the port `Provider`, over HTTP."""

    def __init__(
        self,
        *,
        queue_url: str,
        api_url: str,
        key: str,
        submits_max: int = 32,
        listing_complete: bool = False,
        media_hosts: tuple[str, ...] = (),
    ) -> None:
        self.media_hosts = media_hosts
        self.listing_complete = listing_complete
        self._queue_url = queue_url
        self._api_url = api_url
        headers = {
            "Authorization": f"Key {key}",
            "Accept": "application/json",
            # Answers are small; a compressed one could unfold to any size.
            "Accept-Encoding": "identity",
        }
        timeout = httpx.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        self._reads = httpx.AsyncClient(
            headers=headers, timeout=timeout, trust_env=False,
            limits=httpx.Limits(max_connections=READ_CONNECTIONS_MAX, keepalive_expiry=3.0),
        )  # fmt: skip
        # A kept connection may have died in silence, and then nobody could tell a submit that
        # was never sent from one whose answer was lost: each submit opens its own.
        self._submits = httpx.AsyncClient(
            headers=headers, timeout=timeout, trust_env=False,
            limits=httpx.Limits(max_connections=submits_max, max_keepalive_connections=0),
        )  # fmt: skip

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.aclose()
        await self._submits.aclose()

    async def submit(self, claim: Claim) -> Accepted:
        """POST the job, once.

        Raises `ProviderRejected` with `sent` false when fal refused it, `ProviderUnavailable`
        with `not_sent` when no byte left, and without it when the job may or may not exist.
        """
        query = {} if claim.webhook_url is None else {"fal_webhook": claim.webhook_url}
        request = self._submits.build_request(
            "POST",
            f"{self._queue_url}/{quote(claim.endpoint, safe='/')}",
            params=query,
            headers=_submit_headers(claim),
            json=_submit_input(claim),
        )
        status, headers, body = await _send(self._submits, request, SUBMIT_TIMEOUT_SECONDS)
        if not 200 <= status < 300:
            raise fal_verdicts.of_submit(status, headers, body)
        fields = _object(body)
        request_id = request_id_of(fields)
        if request_id is None:
            raise ProviderUnavailable("unreadable")
        return Accepted(request_id=request_id, urls=_urls(fields))

    async def find(self, claim: Claim) -> str | None:
        """The request id of a submit whose answer was lost; None when the listing lacks it.

        Looks for what only this attempt has: its tags, or where the listing shows none, its seed.
        """
        started_at = claim.attempt.started_at
        query = {
            "endpoint_id": claim.endpoint,
            "start": _instant(started_at - LISTING_BEFORE),
            "end": _instant(started_at + LISTING_AFTER),
            "expand": "payloads",
        }
        for _ in range(FIND_PAGES_MAX):
            page = await self._read_object(self._api_url + LISTING_PATH, query)
            for item in items_of(page):
                if is_ours(item, claim):
                    return request_id_of(item)
            cursor = cursor_of(page)
            if cursor is None:
                return None
            query["cursor"] = cursor
        raise ProviderUnavailable("listing_too_long")

    def mark_of(self, attempt_id: str) -> str:
        """The seed that was sent with the attempt, where its endpoint takes one."""
        return str(attempt_seed(attempt_id))

    async def list_requests(
        self, endpoints: Sequence[str], since: datetime, until: datetime
    ) -> AsyncIterator[Listed]:
        """All requests to these endpoints sent from `since` on and before `until`, in any order;
        one may come twice, since new ones push the pages on."""
        for start in range(0, len(endpoints), ENDPOINTS_MAX):
            query = {
                "endpoint_id": ",".join(endpoints[start : start + ENDPOINTS_MAX]),
                "start": _instant(since),
                "end": _instant(until),
                "limit": str(LISTING_PAGE_ITEMS),
            }
            for _ in range(LISTING_PAGES_MAX):
                page = await self._listing_page(query)
                for item in items_of(page):
                    yield listed(item)
                cursor = cursor_of(page)
                if cursor is None:
                    break
                query["cursor"] = cursor
            else:
                raise ProviderUnavailable("listing_too_long")

    async def _listing_page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page; with what was sent, which may be large, only where tags do not tell whose it
        is."""
        page = await self._read_object(self._api_url + LISTING_PATH, query)
        if all(shows_tags(item) for item in items_of(page)):
            return page
        with_inputs = {**query, "expand": "payloads"}
        return await self._read_object(self._api_url + LISTING_PATH, with_inputs)

    async def status(self, claim: Claim) -> Status:
        """Ask where the job stands; raises the verdict when it has failed or was cancelled."""
        url = f"{self._urls_of(claim).status}?logs=0"
        status, headers, body = await self._read(url)
        if status == 404:
            raise ProviderUnavailable("not_found")
        if status not in {200, 202}:
            raise ProviderUnavailable(f"http_{status}")
        fields = _object(body)
        word = fields.get("status")
        if not isinstance(word, str) or not word or "\x00" in word:
            raise ProviderUnavailable("unreadable")
        # Both must say so: a 202 is never complete, whatever its body claims.
        completed = word == "COMPLETED" and status == 200
        verdict = fal_verdicts.of_status(fields, headers) if completed else None
        if verdict is not None:
            raise verdict
        position = fields.get("queue_position")
        is_position = type(position) is int and 0 <= position <= 10**9
        return Status(
            provider_status=word[:128],
            completed=completed,
            queue_position=position if is_position else None,
        )

    async def cancel(self, claim: Claim) -> bool:
        """Ask fal to stop the job; False when it is complete, or unknown to fal, already.

        A running job may finish all the same: only its status tells how it ended.
        """
        request = self._reads.build_request("PUT", self._urls_of(claim).cancel)
        status, _, _ = await _send(self._reads, request, READ_TIMEOUT_SECONDS)
        if 200 <= status < 300:
            return True
        if status in {400, 404}:
            return False
        raise ProviderUnavailable(f"http_{status}")

    async def result(self, claim: Claim) -> Result:
        """Read a completed job's result; raises the verdict when it is a failure."""
        status, headers, body = await self._read(self._urls_of(claim).response)
        if status != 200:
            raise fal_verdicts.of_result(status, headers, body)
        units = fal_verdicts.billable_units(headers)
        asset_urls = _asset_urls(_object(body), claim.output)
        if not asset_urls:
            raise ProviderRejected("no_asset", retryable=True, billable_units=units)
        return Result(asset_urls=asset_urls, billable_units=units)

    def _urls_of(self, claim: Claim) -> ProviderUrls:
        """The URLs of the submit's answer if they are on the queue's own origin, else built ones.

        The key travels with each call, so it must not follow a URL to another host.
        """
        urls, request_id = claim.attempt.urls, claim.attempt.request_id
        if urls is not None and all(
            _same_origin(url, self._queue_url) for url in (urls.status, urls.response, urls.cancel)
        ):
            return urls
        assert request_id is not None, "a poll or fetch of an attempt that has no request id"
        application = _application(claim.endpoint)
        base = f"{self._queue_url}/{application}/requests/{quote(request_id, safe='')}"
        return ProviderUrls(status=f"{base}/status", response=base, cancel=f"{base}/cancel")

    async def _read_object(self, url: str, query: Mapping[str, str]) -> dict[str, Any]:
        status, _, body = await self._read(url, query)
        if status != 200:
            raise ProviderUnavailable(f"http_{status}")
        return _object(body)

    async def _read(
        self, url: str, query: Mapping[str, str] | None = None
    ) -> tuple[int, httpx.Headers, bytes]:
        request = self._reads.build_request("GET", url, params=query)
        return await _send(self._reads, request, READ_TIMEOUT_SECONDS)


async def _send(
    client: httpx.AsyncClient, request: httpx.Request, timeout_seconds: float
) -> tuple[int, httpx.Headers, bytes]:
    """Send one request, once; its answer is bounded in time and size."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout_seconds):
            response = await client.send(request, stream=True)
            try:
                return response.status_code, response.headers, await _read_bounded(response)
            finally:
                await response.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ProviderUnavailable(type(error).__name__, not_sent=True) from None
    except (httpx.HTTPError, TimeoutError) as error:
        raise ProviderUnavailable(type(error).__name__) from None


async def _read_bounded(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ProviderUnavailable("unreadable")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > ANSWER_MAX_BYTES:
            raise ProviderUnavailable("answer_too_large")
    return bytes(body)


def _submit_input(claim: Claim) -> dict[str, Any]:
    # Synchronous mode returns the media inline as base64, which we neither want nor could bound.
    given = {name: value for name, value in claim.input.items() if name != "sync_mode"}
    if "seed" not in given and takes_seed(claim.endpoint):
        given["seed"] = attempt_seed(claim.attempt.attempt_id)
    return given


def _submit_headers(claim: Claim) -> dict[str, str]:
    return {
        "X-Fal-Tags": f"generation={claim.generation_id},attempt={claim.attempt.attempt_id}",
        "X-Fal-Object-Lifecycle-Preference": (
            f'{{"expiration_duration_seconds": {MEDIA_LIFE_SECONDS}}}'
        ),
        # The price was agreed for this model: no silent rerouting to another one.
        "x-app-fal-disable-fallback": "true",
    }


def _asset_urls(fields: Mapping[str, Any], output: str) -> tuple[str, ...]:
    """The assets of a result; models name them `video`, `images`, `video_url` and the like."""
    for candidate in (fields.get(output), fields.get(f"{output}s"), fields.get(f"{output}_url")):
        found = candidate if isinstance(candidate, list) else [candidate]
        urls = [item.get("url") if isinstance(item, dict) else item for item in found]
        if wanted := tuple([url for url in urls[:ASSETS_MAX] if isinstance(url, str) and url]):
            return wanted
    return ()


def _urls(fields: Mapping[str, Any]) -> ProviderUrls | None:
    urls = [fields.get(f"{name}_url") for name in ("status", "response", "cancel")]
    status, response, cancel = (
        url if isinstance(url, str) and 0 < len(url) <= 2048 else None for url in urls
    )
    if status is None or response is None or cancel is None:
        return None
    return ProviderUrls(status=status, response=response, cancel=cancel)


def _application(endpoint: str) -> str:
    """`owner/app` of an endpoint; the rest of its path is not part of a request's URLs."""
    segments = [quote(part, safe="") for part in endpoint.split("/")]
    return "/".join(segments[: 3 if segments[0] in _NAMESPACES else 2])


def _same_origin(url: str, other: str) -> bool:
    try:
        ours, theirs = httpx.URL(url), httpx.URL(other)
    except httpx.InvalidURL:
        return False
    return (ours.scheme, ours.host, ours.port) == (theirs.scheme, theirs.host, theirs.port)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise ProviderUnavailable("unreadable") from None


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
