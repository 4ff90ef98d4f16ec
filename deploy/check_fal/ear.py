"""Hears webhooks: a small server, reached under whatever URL a tunnel gives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Any, Final

import msgspec

from deploy.check_fal.answers import Unasked

BODY_MAX_BYTES: Final = 1024 * 1024


class Heard(msgspec.Struct, frozen=True):
    """One webhook: headers in small letters, the body raw, the time in seconds since 1970."""

    headers: dict[str, str]
    body: bytes
    at: float


class Ear:
    """Webhooks that were sent to `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: Queue[Heard] = Queue()

    def next(self, seconds: float) -> Heard:
        """The next webhook; raises `Unasked` when none comes in time."""
        try:
            return self.heard.get(timeout=seconds)
        except Empty:
            raise Unasked(f"no webhook came within {seconds:.0f} s") from None


@contextmanager
def listening(port: int, url: str = "") -> Iterator[Ear]:
    """Listen on this loopback port (0: any) for webhooks to `url` (none: to the port itself)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): text for name, text in self.headers.items()}
            body = self.rfile.read(min(length, BODY_MAX_BYTES))
            ear.heard.put(Heard(headers, body, time.time()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing: what is heard is reported as a fact."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        ear = Ear(url or f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield ear
        finally:
            server.shutdown()
            thread.join()
