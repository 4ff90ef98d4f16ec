"""The wire to a provider, on real sockets that misbehave: what is certain when no answer comes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.run.host import free_port
from job_worker.errors import ProviderUnavailable
from job_worker.providers.wire import ANSWER_TOO_LARGE, Answer, Wire, is_same_origin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Fal-Retryable: true\r\n\r\nok"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: the connection ends with a reset instead of a farewell."""


class Server:
    """Answers each request on a connection with the next of its answers, then closes it."""

    def __init__(self, url: str, answers: list[bytes]) -> None:
        self.url = url
        self.answers = answers
        self.heard: list[bytes] = []
        self.connections = 0


@contextmanager
def serving(*answers: bytes, per_connection: int = 1, reset: bool = False) -> Iterator[Server]:
    """A server on loopback; an empty answer is none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Server(url, list(answers))

        def serve() -> None:
            while server.answers:
                connection, _ = listener.accept()
                server.connections += 1
                with connection:
                    for _ in range(per_connection):
                        server.heard.append(connection.recv(65_536))
                        connection.sendall(server.answers.pop(0))
                    if reset:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        thread.join(5)
        assert not thread.is_alive(), "it was asked less often than it should have been"


def send(url: str, method: str = "POST", *, fresh: bool = True, times: int = 1) -> Answer:
    """Send it, so many times over the same wire; the last answer."""

    async def work() -> Answer:
        line = Wire({"Authorization": "Key k"}, connections_max=2, fresh=fresh)
        try:
            for _ in range(times - 1):
                await line.send(method, url, timeout_seconds=5.0)
            return await line.send(method, url, body=b"{}", timeout_seconds=0.5, most_bytes=8)
        finally:
            await line.close()

    return asyncio.run(work())


def failure(url: str, method: str = "POST") -> ProviderUnavailable:
    """Why there was no answer."""
    with pytest.raises(ProviderUnavailable) as caught:
        send(url, method)
    return caught.value


def test_an_answer_comes_as_it_was_sent() -> None:
    """Status, body, and headers whatever their case; asked for plainly, under the key."""
    with serving(OK) as server:
        answer = send(server.url)
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["x-fal-retryable"] == "true"
    (request,) = server.heard
    assert request.startswith(b"POST / HTTP/1.1\r\n")
    assert b"Authorization: Key k\r\n" in request
    assert b"Accept-Encoding: identity\r\n" in request


def test_who_cannot_be_reached_was_sent_nothing() -> None:
    """A closed port, a name that does not exist: no byte left."""
    assert failure(f"http://127.0.0.1:{free_port()}/").not_sent
    assert failure("http://name.invalid/").not_sent


@pytest.mark.parametrize(
    "answer", [b"", OK[:-1], b"HTTP/1.1 200 OK\r\nContent-", b"nonsense\r\n\r\n"]
)
@pytest.mark.parametrize("reset", [False, True])
def test_once_a_byte_has_left_nothing_is_certain(answer: bytes, reset: bool) -> None:
    """However the connection ends after that: the request may have been taken."""
    with serving(answer, reset=reset) as server:
        assert not failure(server.url).not_sent
    assert len(server.heard) == 1, "and it was sent once"


def test_silence_after_the_request_is_not_certain_either() -> None:
    """A server that takes the request and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = failure(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert not error.not_sent


def test_a_tls_handshake_that_fails_sends_nothing() -> None:
    """The other side speaks no TLS: the request itself never left."""
    with serving(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as server:
        assert failure(server.url.replace("http:", "https:")).not_sent
    assert b"Authorization" not in server.heard[0]


def test_a_submit_has_a_connection_of_its_own() -> None:
    """A kept one may have died in silence, and then nobody could tell sent from not sent."""
    with serving(OK, OK) as server:
        send(server.url, times=2)
    assert server.connections == 2


def test_a_read_goes_over_a_kept_connection_and_outlives_its_end() -> None:
    """Reads are harmless to repeat: on a connection that was closed meanwhile they are, once."""
    with serving(OK, OK, OK, OK, per_connection=2) as server:
        assert send(server.url, "GET", fresh=False, times=4).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", "unreadable"),
        (b"HTTP/1.1 200 OK\r\n", ANSWER_TOO_LARGE),
    ],
)
def test_an_answer_is_bounded(head: bytes, reason: str) -> None:
    """Nothing is unfolded, and nothing read beyond the bound, here of 8 bytes."""
    with serving(head + b"Content-Length: 9\r\n\r\n123456789") as server:
        assert failure(server.url).reason == reason


def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    """The key goes where it was sent, and nowhere else."""
    elsewhere = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=b\r\n"
    with serving(elsewhere + b"Content-Length: 0\r\n\r\n", OK) as server:
        send(server.url, times=2)
    assert b"Cookie" not in server.heard[1]


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("https://queue.fal.run/a", True),
        ("https://QUEUE.fal.run:443/b?c", True),
        ("http://queue.fal.run/a", False),
        ("https://queue.fal.run:8443/a", False),
        ("https://queue.fal.run.evil.test/a", False),
        ("https://queue.fal.run@evil.test/a", False),
        ("https://evil.test\\@queue.fal.run/a", False),
        ("https://evil.test#@queue.fal.run/a", False),
        ("//queue.fal.run/a", False),
        ("", False),
    ],
)
def test_an_origin_is_judged_as_it_would_be_asked(url: str, is_same: bool) -> None:
    """Whatever is written, the same library reads it that sends to it."""
    assert is_same_origin(url, "https://queue.fal.run") is is_same
