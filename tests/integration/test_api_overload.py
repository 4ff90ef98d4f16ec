"""Too many at once: some are told to come later before they are read; nobody is lost."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import psycopg
import pytest

from ledger_service.api.gate import WAITING_MAX
from tests.fixtures.live import LiveLedger, new_account
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

BODY = b'{"amount":1,"reason":"crowd"}'


def spend(ledger: LiveLedger, account_id: str, key: str) -> bytes:
    """A spend as it goes over the wire."""
    head = (
        f"POST /v1/accounts/{account_id}/debits HTTP/1.1\r\nHost: ledger\r\n"
        f"Authorization: Bearer {ledger.caller.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\nIdempotency-Key: {key}\r\n\r\n"
    )
    return head.encode() + BODY


def batch(ledger: LiveLedger, account_id: str, number: int) -> bytes:
    """A batch of a thousand spends as it goes over the wire."""
    commands = [
        {
            "op": "debit",
            "account_id": account_id,
            "idempotency_key": f"batch-{number}-{n}",
            "amount": 1,
            "reason": "batch",
        }
        for n in range(1_000)
    ]
    body = msgspec.json.encode({"commands": commands})
    head = (
        "POST /v1/batches HTTP/1.1\r\nHost: ledger\r\n"
        f"Authorization: Bearer {ledger.caller.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """One connection."""

    def __init__(self, ledger: LiveLedger) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(ledger.url.rpartition(":")[2])))
        self._socket.settimeout(20)

    def send(self, request: bytes) -> None:
        """Ask, without waiting."""
        self._socket.sendall(request)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self._socket.recv(65_536)
            assert piece, "the connection was closed"
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += self._socket.recv(65_536)
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@contextmanager
def clients_of(ledger: LiveLedger, count: int) -> Iterator[list[Client]]:
    """That many connections."""
    clients = [Client(ledger) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


@contextmanager
def standstill(database: Database) -> Iterator[None]:
    """The processes of PostgreSQL that serve this database do nothing."""
    with psycopg.connect(database.url) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
    for (pid,) in found:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in found:
            os.kill(pid, signal.SIGCONT)


def test_a_crowd_is_told_to_come_later(ledger: LiveLedger) -> None:
    """While PostgreSQL stands still more and more wait: from a bound on they are turned away at
    once, with a problem document, on a connection that stays open; once it goes on, everybody
    who was let in is answered, each spend counted once."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10**6)
    with clients_of(ledger, WAITING_MAX + 1) as (late, *clients):
        with standstill(ledger.database):
            for number, client in enumerate(clients):
                client.send(spend(ledger, account_id, f"crowd-{number}"))
            time.sleep(1.0)  # for all of them to be there
            started = time.monotonic()
            late.send(spend(ledger, account_id, "late"))
            status, headers, body = late.answer()
            assert time.monotonic() - started < 1.0, "it was not made to wait"
            assert (status, headers.get("retry-after")) == (503, "1"), body
            assert headers["content-type"] == "application/problem+json"
            problem = msgspec.json.decode(body)
            assert problem["code"] == "unavailable"
            assert problem["instance"] == f"/v1/accounts/{account_id}/debits"
            assert ledger.nobody.get("/health/live").status_code == 200
        assert {client.answer()[0] for client in clients} == {201}
        late.send(spend(ledger, account_id, "late"))
        assert late.answer()[0] == 201
    assert ledger.caller.balance(account_id)["posted"] == 10**6 - WAITING_MAX - 1


def test_many_batches_wait_for_each_other(ledger: LiveLedger) -> None:
    """Nine full batches at once: every command is carried out, none is told to come later."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10**6)
    results = []
    with clients_of(ledger, 9) as clients:
        for number, client in enumerate(clients):
            client.send(batch(ledger, account_id, number))
        for client in clients:
            status, _, body = client.answer()
            assert status == 200
            results += msgspec.json.decode(body)["results"]
    assert {result["status"] for result in results} == {201}
    assert ledger.caller.balance(account_id)["posted"] == 10**6 - 9_000


def test_a_hundred_clients_come_while_it_is_busy(ledger: LiveLedger) -> None:
    """New connections are taken in while the event loop has much to do."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10**6)
    with clients_of(ledger, 200) as clients:
        for round_number in range(3):
            for number, client in enumerate(clients):
                client.send(spend(ledger, account_id, f"busy-{round_number}-{number}"))
            with clients_of(ledger, 1) as (newcomer,):
                newcomer.send(spend(ledger, account_id, f"new-{round_number}"))
                assert newcomer.answer()[0] == 201
            assert {client.answer()[0] for client in clients} == {201}
