"""The ledger's client against a server that misbehaves on real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.api.common import Source
from contracts.api.debits import DebitRequest
from contracts.api.grants import GrantRequest
from contracts.client import (
    LedgerClient,
    LedgerError,
    LedgerRejected,
    LedgerUnavailable,
    WorkClient,
)
from contracts.jobs import RenewReport, ReportReply, ReportRequest
from deploy.run.host import free_port

KEY = "ck_test_secret"
ACCOUNT = {
    "account_id": "user/1",
    "unit": "credit",
    "status": "active",
    "version": 1,
    "position": 1,
    "balance": {
        "posted": 7, "held": 0, "available": 7, "debt": 0, "credit_limit": 0, "pending_expiry": 0,
    },
    "merged_into": None,
    "opened_at": datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip


def answer(status: int, body: Any = None, **headers: str) -> bytes:
    """A whole HTTP answer."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def problem(status: int, code: str, **fields: Any) -> bytes:
    """An answer that is a problem document."""
    return answer(status, {"type": "t", "title": "t", "status": status, "code": code, **fields})


def whole_request(connection: socket.socket) -> bytes:
    """Read one request: its head, then as much as its head says."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.splitlines():
        name, _, text = line.partition(b":")
        while name.lower() == b"content-length" and len(body) < int(text):
            body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


class Script:
    """A server that gives one prepared answer per connection, and keeps what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[bytes] = []


@contextmanager
def scripted(*answers: bytes) -> Iterator[Script]:
    """Serve the answers in order; an empty one closes the connection without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = Script(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            for content in answers:
                connection, _ = listener.accept()
                with connection:
                    script.requests.append(whole_request(connection))
                    connection.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield script
        thread.join(5)
        assert not thread.is_alive(), "the client asked less often than it should have"


async def read_account(url: str) -> Any:
    """Read one account."""
    async with LedgerClient(url, KEY) as ledger:
        return await ledger.account("user/1", min_position=3)


async def spend(url: str) -> Any:
    """Spend seven credits under a key."""
    async with LedgerClient(url, KEY) as ledger:
        return await ledger.debit("u", DebitRequest(amount=7, reason="r"), key="order-1")


async def claim(url: str) -> Any:
    """Claim one generation."""
    async with WorkClient(url, KEY, worker="w") as ledger:
        return await ledger.claim("../gen_1")


async def report(url: str) -> Any:
    """Report that a step goes on."""
    async with WorkClient(url, KEY, worker="w") as ledger:
        request = ReportRequest(fence="1.1", attempt_id="att_1", event=RenewReport())
        return await ledger.report("gen_1", request)


def test_a_read_is_repeated_until_it_succeeds() -> None:
    """503, a closed connection and a gateway's page are all outlasted by a read."""
    trouble = [problem(503, "not_caught_up"), b"", answer(502, b"<html>")]
    with scripted(*trouble, answer(200, ACCOUNT)) as server:
        account = asyncio.run(read_account(server.url))
    assert account.balance.available == 7
    assert server.requests[0].startswith(b"GET /v1/accounts/user%2F1?min_position=3 HTTP/1.1")
    assert b"Bearer ck_test_secret" in server.requests[0]


def test_a_keyed_write_is_repeated_under_the_same_key() -> None:
    """A write whose outcome is unknown is asked again, with its own key and body."""
    trouble = [problem(503, "outcome_unknown"), b""]
    with (
        scripted(*trouble, problem(402, "insufficient_credits", shortfall=3)) as server,
        pytest.raises(LedgerRejected) as caught,
    ):
        asyncio.run(spend(server.url))
    assert (caught.value.code, caught.value.status) == ("insufficient_credits", 402)
    assert caught.value.fields["shortfall"] == 3
    assert all(b"order-1" in request for request in server.requests)
    assert len(set(server.requests)) == 1


def test_a_report_is_repeated_and_a_claim_is_not() -> None:
    """A report is harmless to repeat; a claim whose answer was lost runs out by itself."""
    with scripted(b"", answer(200, ReportReply(accepted=True))) as server:
        assert asyncio.run(report(server.url)).accepted
    with scripted(b"") as server, pytest.raises(LedgerUnavailable) as caught:
        asyncio.run(claim(server.url))
    assert (caught.value.reason, caught.value.not_applied) == ("broken", False)
    assert server.requests[0].startswith(b"POST /v1/generations/..%2Fgen_1/claims ")


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429])
def test_a_refusal_is_never_repeated(status: int) -> None:
    """No 4xx is asked again, whatever the call."""
    with scripted(problem(status, "some_new_code")) as server, pytest.raises(LedgerRejected) as no:
        asyncio.run(read_account(server.url))
    assert (no.value.code, no.value.status) == ("some_new_code", status)


def test_silence_is_unavailable_with_its_reason() -> None:
    """Refused connections and unreadable answers are told apart; no other error gets out."""
    with pytest.raises(LedgerUnavailable) as caught:
        asyncio.run(claim(f"http://127.0.0.1:{free_port()}"))
    assert (caught.value.reason, caught.value.not_applied) == ("connect", True)
    for body in (b"<html>", b'{"claims": 5}', b"[" * 100_000):
        with scripted(answer(200, body)) as server, pytest.raises(LedgerError) as error:
            asyncio.run(claim(server.url))
        assert isinstance(error.value, LedgerUnavailable)
        assert error.value.reason == "unreadable"


def test_a_grant_travels_as_the_contract_says() -> None:
    """What the client sends is what the contract's own Struct accepts."""
    request = GrantRequest(amount=5, source=Source.PROMO)

    async def grant(url: str) -> None:
        async with LedgerClient(url, KEY) as ledger:
            await ledger.grant("u", request, key="k")

    with scripted(problem(403, "forbidden")) as server, pytest.raises(LedgerRejected):
        asyncio.run(grant(server.url))
    body = server.requests[0].partition(b"\r\n\r\n")[2]
    assert msgspec.json.decode(body, type=GrantRequest) == request
