"""One provider under one key: fal.ai, or an emulator in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec

from deploy.check_fal.answers import Unasked
from deploy.check_fal.budget import Budget, CapReached
from deploy.check_fal.ear import Ear

REQUEST_SECONDS: Final = 20.0
JOB_SECONDS_MAX: Final = 180.0
LOOK_SECONDS: Final = 0.25
LISTING_PAGES_MAX: Final = 5
_WRONG_KEY: Final = "00000000-0000-0000-0000-000000000000:00000000000000000000000000000000"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted submit: its id, its URLs, and when (monotonic seconds) it was answered."""

    request_id: str
    status_url: str
    response_url: str
    cancel_url: str
    tag: str
    accepted_at: float


class Site:
    """Where questions go. Every call raises `Unasked` when nothing can be learned from it.

    `old_request` is the id of one that should have expired, `refused_prompt` one that its checker
    refuses, `ear` hears this provider's webhooks.
    """

    def __init__(
        self,
        *,
        queue_url: str,
        api_url: str,
        jwks_url: str,
        key: str,
        endpoint: str,
        budget: Budget,
        old_request: str = "",
        refused_prompt: str = "",
        ear: Ear | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.jwks_url = jwks_url
        self.old_request = old_request
        self.refused_prompt = refused_prompt
        self.ear = ear
        self.app_url = f"{queue_url}/{'/'.join(endpoint.split('/')[:2])}"
        self.submitted: list[Job] = []
        self._queue_url = queue_url
        self._api_url = api_url
        self._budget = budget
        self._http = httpx.Client(
            headers={"Authorization": f"Key {key}"}, timeout=REQUEST_SECONDS, trust_env=False
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def post(self, given: Mapping[str, Any], tag: str, webhook_url: str = "") -> httpx.Response:
        """POST one job, once, under a tag of its own; its price is booked first."""
        try:
            self._budget.pay()
        except CapReached as reached:
            raise Unasked(str(reached)) from None
        return self._send(
            "POST",
            f"{self._queue_url}/{self.endpoint}",
            json=dict(given),
            params={"fal_webhook": webhook_url} if webhook_url else {},
            headers={"X-Fal-Tags": f"check={tag}", "x-app-fal-disable-fallback": "true"},
        )

    def submit(self, given: Mapping[str, Any], webhook_url: str = "") -> Job:
        """The same for a job that must be accepted."""
        tag = uuid4().hex
        answer = self.post(given, tag, webhook_url)
        if not answer.is_success:
            raise Unasked(f"the submit was answered with {answer.status_code}")
        return self.accepted(answer, tag)

    def accepted(self, answer: httpx.Response, tag: str) -> Job:
        """The job that a submit's answer speaks of."""
        body = _object(answer)
        status, response, cancel = (
            str(body.get(f"{name}_url", "")) for name in ("status", "response", "cancel")
        )
        if not all(_is_below(url, self._queue_url) for url in (status, response, cancel)):
            raise Unasked("the submit's URLs lead elsewhere, and the key must not")
        job = Job(
            request_id=str(body.get("request_id", "")),
            status_url=status,
            response_url=response,
            cancel_url=cancel,
            tag=tag,
            accepted_at=time.monotonic(),
        )
        self.submitted.append(job)
        return job

    def submit_under_a_wrong_key(self) -> httpx.Response:
        """A submit that nobody can be billed for."""
        headers = {"Authorization": f"Key {_WRONG_KEY}"}
        url = f"{self._queue_url}/{self.endpoint}"
        return self._send("POST", url, json={"prompt": "a boat"}, headers=headers)

    def get(self, url: str) -> httpx.Response:
        """GET below the queue."""
        return self._send("GET", url)

    def cancel(self, job: Job) -> httpx.Response:
        """Ask for a job not to be made."""
        return self._send("PUT", job.cancel_url)

    def public(self, url: str) -> bytes:
        """GET a public document, without the key."""
        try:
            answer = httpx.get(url, timeout=REQUEST_SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            raise Unasked(type(error).__name__) from None
        if answer.status_code != 200:
            raise Unasked(f"{url} was answered with {answer.status_code}")
        return answer.content

    def completed(self, job: Job) -> httpx.Response:
        """The first status that is a 200, or says that the job is kept no more."""
        return self.until(job, lambda answer: answer.status_code in {200, 404, 410})

    def until(self, job: Job, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
        """The first status that is wanted."""
        deadline = time.monotonic() + JOB_SECONDS_MAX
        while not wanted(answer := self.get(job.status_url)):
            if time.monotonic() > deadline:
                raise Unasked(f"the job has not come so far within {JOB_SECONDS_MAX:.0f} s")
            time.sleep(LOOK_SECONDS)
        return answer

    def listing(self, **wish: str) -> dict[str, dict[str, Any]]:
        """The newest requests of this endpoint by id, as the platform API lists them."""
        query: dict[str, Any] = {
            **{"endpoint_id": self.endpoint, "expand": "payloads", "limit": 50},
            **wish,
        }
        found: dict[str, dict[str, Any]] = {}
        for _ in range(LISTING_PAGES_MAX):
            url = f"{self._api_url}/models/requests/by-endpoint"
            answer = self._send("GET", url, params=query)
            if answer.status_code != 200:
                raise Unasked(f"the listing was answered with {answer.status_code}")
            page = _object(answer)
            items = page.get("items")
            for item in items if isinstance(items, list) else []:
                found[str(item.get("request_id"))] = item
            cursor = page.get("next_cursor")
            if not cursor or len(found) > 2 * len(self.submitted) + 50:
                break
            query["cursor"] = cursor
        return found

    def price_usd(self) -> float:
        """The endpoint's price for one unit of its own."""
        url = f"{self._api_url}/models/pricing"
        answer = self._send("GET", url, params={"endpoint_id": self.endpoint})
        if answer.status_code != 200:
            raise Unasked(f"the price was answered with {answer.status_code}")
        prices = _object(answer).get("prices")
        for price in prices if isinstance(prices, list) else []:
            if price.get("endpoint_id") == self.endpoint and price.get("currency") == "USD":
                return float(price["unit_price"])
        raise Unasked("the price list has no price in USD")

    def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            # The type alone: a text may hold the URL, and with it whatever was put there.
            raise Unasked(type(error).__name__) from None


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise Unasked("what came back is no JSON object") from None


def _is_below(url: str, base: str) -> bool:
    try:
        one, other = httpx.URL(url), httpx.URL(base)
    except httpx.InvalidURL:
        return False
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
