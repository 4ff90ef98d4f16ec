"""A generation's stream: what happens to it as it happens, until it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.fixtures.customer import Customer, Order
from tests.fixtures.live import expect
from tests.fixtures.stack import Stack
from tests.fixtures.streaming import Stream

pytestmark = pytest.mark.slow


@contextmanager
def watching(customer: Customer, order: Order, last: str | None = None) -> Iterator[httpx.Response]:
    """The answer to a request for its stream."""
    headers = {} if last is None else {"Last-Event-ID": last}
    path = f"/v1/generations/{order.generation_id}/events"
    with customer.caller.http.stream("GET", path, headers=headers, timeout=30.0) as response:
        yield response


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """All events until the stream ends."""
    assert response.headers["content-type"] == "text/event-stream"
    stream, found = Stream(response), []
    while True:
        try:
            found.append(stream.next())
        except EOFError:
            return found


def test_a_stream_tells_a_generation_from_its_request_to_its_end(
    stack: Stack, customer: Customer
) -> None:
    """Each newer version, the provider's progress with the model's log between them, the result,
    and then no more."""
    order = customer.order("a slow boat [[fal:slow=5]]", "succeeded")
    with watching(customer, order) as response:
        told = events(response)
    versions = [int(event["id"]) for event in told if event["event"] == "generation"]
    assert versions == sorted(set(versions))
    progress = [event["data"] for event in told if event["event"] == "progress"]
    assert "IN_PROGRESS" in {seen["provider_status"] for seen in progress}
    assert any("of work done" in line["message"] for seen in progress for line in seen["logs"])
    last = told[-1]
    assert last["data"]["status"] == "succeeded"
    assert httpx.get(last["data"]["result"]["url"]).status_code == 200
    shown = expect(200, customer.caller.get(f"/v1/generations/{order.generation_id}"))
    no_links = {"result": None, "results": None}  # each read makes them afresh
    assert shown | no_links == last["data"] | no_links
    with watching(customer, order, last=last["id"]) as response:
        assert response.status_code == 204, "a browser comes no more"
    with watching(customer, order, last=str(versions[0])) as response:
        assert [event["id"] for event in events(response)] == [last["id"]]


def test_those_who_wait_are_told_their_place(stack: Stack, customer: Customer) -> None:
    """Behind more jobs than the provider runs at a time, the queue's position is passed on."""
    ahead = [customer.order("a slow boat [[fal:slow=4]]", "succeeded") for _ in range(10)]
    order = customer.order("a paper boat")
    with watching(customer, order) as response:
        told = events(response)
    positions = [e["data"]["queue_position"] for e in told if e["event"] == "progress"]
    assert any(position is not None for position in positions)
    assert told[-1]["data"]["status"] == "succeeded"
    customer.wait(orders=ahead)


def test_a_stream_ends_when_its_generation_is_deleted(stack: Stack, customer: Customer) -> None:
    """Nothing of it is shown any more, so nothing is told."""
    order = customer.order("a boat on a reef [[fal:stuck]]", "cancelled")
    path = f"/v1/generations/{order.generation_id}"
    with watching(customer, order) as response:
        expect(200, customer.caller.http.delete(path))
        assert "cancelled" not in {event["data"].get("status") for event in events(response)}
    assert customer.caller.get(f"{path}/events").json()["code"] == "generation_not_found"
