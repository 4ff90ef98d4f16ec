"""fal.ai's queue over HTTP: submit, find, status, cancel, result, forget.

The one rule above all: **a submit is never repeated here.** fal knows no idempotency key, so two
POSTs are two jobs and two bills. A submit ends in one of three ways: accepted, certainly not sent
or refused, or unknown; the ledger decides what follows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

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
from job_worker.providers.fal_logs import newest_lines
from job_worker.providers.port import Accepted, Listed, Result, Status
from job_worker.providers.wire import (
    ANSWER_MAX_BYTES,
    ANSWER_TOO_LARGE,
    Answer,
    Wire,
    is_same_origin,
)

SUBMIT_TIMEOUT_SECONDS: Final = 10.0
READ_TIMEOUT_SECONDS: Final = 8.0
READ_CONNECTIONS_MAX: Final = 32
LOGS_MAX_BYTES: Final = 256 * 1024
"""Of a status with its log, which comes whole each time: a longer one is left out."""
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
        admin_key: str = "",
        submits_max: int = 32,
        listing_complete: bool = False,
        media_hosts: tuple[str, ...] = (),
    ) -> None:
        self.media_hosts = media_hosts
        self.listing_complete = listing_complete
        self._queue_url = queue_url
        self._api_url = api_url
        self._admin_key = admin_key or key
        headers = {"Authorization": f"Key {key}", "Accept": "application/json"}
        self._reads = Wire(headers, connections_max=READ_CONNECTIONS_MAX)
        # A kept connection may have died in silence, and then nobody could tell a submit that
        # was never sent from one whose answer was lost: each submit opens its own.
        self._submits = Wire(headers, connections_max=submits_max, fresh=True)

    async def close(self) -> None:
        """Close every connection."""
        await self._reads.close()
        await self._submits.close()

    async def submit(self, claim: Claim) -> Accepted:
        """POST the job, once.

        Raises `ProviderRejected` with `sent` false when fal refused it, `ProviderUnavailable`
        with `not_sent` when no byte left, and without it when the job may or may not exist.
        """
        query = {} if claim.webhook_url is None else {"fal_webhook": claim.webhook_url}
        answer = await self._submits.send(
            "POST",
            f"{self._queue_url}/{quote(claim.endpoint, safe='/')}",
            query=query,
            headers=_submit_headers(claim),
            body=msgspec.json.encode(_submit_input(claim)),
            timeout_seconds=SUBMIT_TIMEOUT_SECONDS,
        )
        if not 200 <= answer.status < 300:
            raise fal_verdicts.of_submit(answer.status, answer.headers, answer.body)
        fields = _object(answer.body)
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
        answer = await self._read_status(self._urls_of(claim).status)
        if answer.status == 404:
            raise ProviderUnavailable("not_found")
        if answer.status not in {200, 202}:
            raise ProviderUnavailable(f"http_{answer.status}")
        fields = _object(answer.body)
        word = fields.get("status")
        if not isinstance(word, str) or not word or "\x00" in word:
            raise ProviderUnavailable("unreadable")
        # Both must say so: a 202 is never complete, whatever its body claims.
        completed = word == "COMPLETED" and answer.status == 200
        verdict = fal_verdicts.of_status(fields, answer.headers) if completed else None
        if verdict is not None:
            raise verdict
        position = fields.get("queue_position")
        is_position = type(position) is int and 0 <= position <= 10**9
        return Status(
            provider_status=word[:128],
            completed=completed,
            queue_position=position if is_position else None,
            logs=newest_lines(fields),
        )

    async def _read_status(self, url: str) -> Answer:
        """With the log, unless that is too long: nobody's job hangs on what its model says."""
        try:
            return await self._read(f"{url}?logs=1", most_bytes=LOGS_MAX_BYTES)
        except ProviderUnavailable as error:
            if error.reason != ANSWER_TOO_LARGE:
                raise
            return await self._read(f"{url}?logs=0")

    async def cancel(self, claim: Claim) -> bool:
        """Ask fal to stop the job; False when it is complete, or unknown to fal, already.

        A running job may finish all the same: only its status tells how it ended.
        """
        url = self._urls_of(claim).cancel
        answer = await self._reads.send("PUT", url, timeout_seconds=READ_TIMEOUT_SECONDS)
        if 200 <= answer.status < 300:
            return True
        if answer.status in {400, 404}:
            return False
        raise ProviderUnavailable(f"http_{answer.status}")

    async def result(self, claim: Claim) -> Result:
        """Read a completed job's result; raises the verdict when it is a failure."""
        answer = await self._read(self._urls_of(claim).response)
        if answer.status != 200:
            raise fal_verdicts.of_result(answer.status, answer.headers, answer.body)
        units = fal_verdicts.billable_units(answer.headers)
        asset_urls = _asset_urls(_object(answer.body), claim.output)
        if not asset_urls:
            raise ProviderRejected("no_asset", retryable=True, billable_units=units)
        return Result(asset_urls=asset_urls, billable_units=units)

    async def forget(self, request_id: str) -> None:
        """Delete what fal keeps of a request: input, output, and the files on its CDN. Needs a key
        with the rights of an administrator."""
        answer = await self._reads.send(
            "DELETE",
            f"{self._api_url}/models/requests/{quote(request_id, safe='')}/payloads",
            headers={
                "Authorization": f"Key {self._admin_key}",
                "Idempotency-Key": f"forget-{request_id}",
            },
            timeout_seconds=READ_TIMEOUT_SECONDS,
        )
        if not (200 <= answer.status < 300 or answer.status == 404):
            raise ProviderUnavailable(f"http_{answer.status}")

    def _urls_of(self, claim: Claim) -> ProviderUrls:
        """The URLs of the submit's answer if they are on the queue's own origin, else built ones.

        The key travels with each call, so it must not follow a URL to another host.
        """
        urls, request_id = claim.attempt.urls, claim.attempt.request_id
        if urls is not None and all(
            is_same_origin(url, self._queue_url)
            for url in (urls.status, urls.response, urls.cancel)
        ):
            return urls
        assert request_id is not None, "a poll or fetch of an attempt that has no request id"
        application = _application(claim.endpoint)
        base = f"{self._queue_url}/{application}/requests/{quote(request_id, safe='')}"
        return ProviderUrls(status=f"{base}/status", response=base, cancel=f"{base}/cancel")

    async def _read_object(self, url: str, query: Mapping[str, str]) -> dict[str, Any]:
        answer = await self._read(url, query)
        if answer.status != 200:
            raise ProviderUnavailable(f"http_{answer.status}")
        return _object(answer.body)

    async def _read(
        self,
        url: str,
        query: Mapping[str, str] | None = None,
        most_bytes: int = ANSWER_MAX_BYTES,
    ) -> Answer:
        return await self._reads.send(
            "GET",
            url,
            query=query,
            timeout_seconds=READ_TIMEOUT_SECONDS,
            most_bytes=most_bytes,
        )


def _submit_input(claim: Claim) -> dict[str, Any]:
    # Synchronous mode returns the media inline as base64, which we neither want nor could bound.
    given = {name: value for name, value in claim.input.items() if name != "sync_mode"}
    if "seed" not in given and takes_seed(claim.endpoint):
        given["seed"] = attempt_seed(claim.attempt.attempt_id)
    return given


def _submit_headers(claim: Claim) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-Fal-Tags": f"generation={claim.generation_id},attempt={claim.attempt.attempt_id}",
        "X-Fal-Object-Lifecycle-Preference": (
            f'{{"expiration_duration_seconds": {MEDIA_LIFE_SECONDS}}}'
        ),
        # The price was agreed for this model: no silent rerouting to another one.
        "x-app-fal-disable-fallback": "true",
        "X-Fal-Queue-Priority": claim.priority,
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


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise ProviderUnavailable("unreadable") from None


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
