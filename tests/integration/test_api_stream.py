"""An account's stream: its newest state, again whenever it has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.fixtures.hand_worker import FAILED, HandWorker
from tests.fixtures.live import Caller, LiveLedger, expect, new_account, serve
from tests.fixtures.services import Database, Processes
from tests.fixtures.streaming import Stream

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 20.0


@contextmanager
def streaming(
    caller: Caller, account_id: str, last: int | str | None = None, **query: str
) -> Iterator[Stream]:
    """An open stream."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    path = f"/v1/accounts/{account_id}/stream"
    with caller.http.stream(
        "GET", path, headers=headers, params=query, timeout=PATIENCE_SECONDS
    ) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream"
        yield Stream(response)


def test_a_stream_begins_with_the_account_and_tells_every_change(ledger: LiveLedger) -> None:
    """First the account as GET shows it, then each newer version."""
    caller, account_id = ledger.caller, new_account()
    caller.grant(account_id, 100)
    with streaming(caller, account_id) as stream:
        first = stream.next()
        assert (first["event"], first["data"]) == (
            "account",
            expect(200, caller.get(f"/v1/accounts/{account_id}")),
        )
        debited = caller.debit(account_id, 30)["account"]
        told = stream.until(debited["version"])
        assert told["data"]["balance"] == debited["balance"]


def test_a_client_that_comes_again_hears_only_of_what_is_newer(ledger: LiveLedger) -> None:
    """`Last-Event-ID` resumes: nothing twice, and what happened meanwhile at once."""
    caller, account_id = ledger.caller, new_account()
    version = caller.grant(account_id, 100)["account"]["version"]
    with streaming(caller, account_id, last=version) as stream:
        newer = caller.debit(account_id, 1)["account"]["version"]
        assert int(stream.next()["id"]) == newer
    caller.debit(account_id, 2)
    with streaming(caller, account_id, last=newer) as stream:
        assert stream.next()["data"]["balance"]["posted"] == 97


def test_quick_changes_come_as_one(ledger: LiveLedger) -> None:
    """A client gets the newest state, and by far not every one in between."""
    caller, account_id = ledger.caller, new_account()
    caller.grant(account_id, 1_000)
    with streaming(caller, account_id) as stream:
        stream.next()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: caller.debit(account_id, 1), range(200)))
        final = expect(200, caller.get(f"/v1/accounts/{account_id}"))
        count = 1
        while int(stream.next()["id"]) < final["version"]:
            count += 1
        assert count < 150


def test_only_the_watched_account_is_told_of(ledger: LiveLedger) -> None:
    """What happens on other accounts is nobody's business here."""
    caller, account_id, other = ledger.caller, new_account(), new_account()
    caller.grant(account_id, 10)
    with streaming(caller, account_id) as stream:
        stream.next()
        caller.grant(other, 5)
        version = caller.grant(account_id, 7)["account"]["version"]
        assert int(stream.next()["id"]) == version


def test_a_silent_stream_gives_signs_of_life(ledger: LiveLedger) -> None:
    """A comment at least every 15 s keeps proxies from closing the connection."""
    caller, account_id = ledger.caller, new_account()
    caller.grant(account_id, 10)
    with streaming(caller, account_id) as stream:
        stream.next()
        assert stream.comment() == ": alive"


def test_a_stream_needs_a_key_and_an_account_of_its_tenant(ledger: LiveLedger) -> None:
    """Nobody, a stranger and a malformed id get a problem document and no stream."""
    caller, account_id = ledger.caller, new_account()
    caller.grant(account_id, 10)
    path = f"/v1/accounts/{account_id}/stream"
    assert expect(401, ledger.nobody.get(path))["code"] == "unauthenticated"
    assert expect(404, ledger.other.get(path))["code"] == "account_not_found"
    bad = caller.http.get(path, headers={"Last-Event-ID": "yesterday"})
    assert expect(400, bad)["errors"][0]["pointer"] == "Last-Event-ID"


WITH_GENERATIONS = {"generations": "true"}
ORDER = {"model": "veo-3.1-lite", "input": {"prompt": "a boat"}}


def order(caller: Caller, account_id: str) -> str:
    """A generation that waits for its worker."""
    made = caller.post("/v1/generations", {"account_id": account_id, **ORDER})
    return str(expect(202, made)["generation"]["generation_id"])


def hear(stream: Stream, *wanted: tuple[str, object]) -> None:
    """Listen until a stream has told of each: a generation with its status, or `posted` with the
    account's balance. Which comes first is open: each event has the newest state."""
    left = set(wanted)
    while left:
        data = stream.next()["data"]
        if "balance" in data:
            left.discard(("posted", data["balance"]["posted"]))
        else:
            left.discard((data["generation_id"], data["status"]))


def test_one_stream_tells_of_an_account_and_all_its_generations(ledger: LiveLedger) -> None:
    """At first those under way, then each that changes, as reading it would show it; with the
    account's own events between them, for whoever asks for that."""
    caller, account_id, worker = ledger.caller, new_account(), HandWorker(ledger.worker)
    caller.grant(account_id, 100)
    ended, first = order(caller, account_id), order(caller, account_id)
    expect(202, caller.post(f"/v1/generations/{ended}/cancel", None, key=""))
    with streaming(caller, account_id, **WITH_GENERATIONS) as stream:
        begun = stream.next()
        assert begun["event"] == "generation"
        assert begun["data"] == expect(200, caller.get(f"/v1/generations/{first}"))
        assert stream.next()["event"] == "account"
        second = order(caller, account_id)
        hear(stream, (second, "requested"), ("posted", 60))
        expect(200, worker.report(worker.claim(first), FAILED))
        hear(stream, (first, "failed"), ("posted", 80))
    with streaming(caller, account_id) as stream:
        caller.post(f"/v1/generations/{second}/cancel", None, key="")
        assert {stream.next()["event"] for _ in range(2)} == {"account"}


def test_a_client_that_comes_again_hears_what_its_generations_did(ledger: LiveLedger) -> None:
    """The ids of such a stream resume both: what ended meanwhile is told; what did not change, or
    was deleted, is not. An id of the plain stream is none of it."""
    caller, account_id = ledger.caller, new_account()
    caller.grant(account_id, 100)
    _, ending, deleted = [order(caller, account_id) for _ in range(3)]
    with streaming(caller, account_id, **WITH_GENERATIONS) as stream:
        last = stream.until_event("account")["id"]
    expect(202, caller.post(f"/v1/generations/{ending}/cancel", None, key=""))
    expect(200, caller.http.delete(f"/v1/generations/{deleted}"))
    with streaming(caller, account_id, last, **WITH_GENERATIONS) as stream:
        told = stream.next()
        assert (told["data"]["generation_id"], told["data"]["status"]) == (ending, "cancelled")
        assert stream.next()["event"] == "account"
        newest = order(caller, account_id)
        assert stream.until_event("generation")["data"]["generation_id"] == newest
    path = f"/v1/accounts/{account_id}/stream?generations=true"
    bad = caller.http.get(path, headers={"Last-Event-ID": "7"})
    assert expect(400, bad)["errors"][0]["pointer"] == "Last-Event-ID"


def test_streams_end_when_the_process_does(database: Database, processes: Processes) -> None:
    """An open stream does not keep a process from ending in order."""
    ledger = serve(processes, database)
    account_id = new_account()
    ledger.caller.grant(account_id, 10)
    with streaming(ledger.caller, account_id) as stream:
        stream.next()
        ended = threading.Thread(target=ledger.process.stop)
        began = time.monotonic()
        ended.start()
        with pytest.raises((EOFError, httpx.HTTPError)):
            stream.next()
        ended.join(PATIENCE_SECONDS)
        assert not ended.is_alive()
        assert time.monotonic() - began < PATIENCE_SECONDS
    ledger.close()
