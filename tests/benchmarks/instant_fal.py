"""A provider that takes no time: fal's queue, as little of it as one job needs.

`HOLD=1` keeps every job in progress until `POST /release`. `GET /posts` tells when (epoch seconds)
each generation's submit came, and how many requests there were of each kind. The listing names
every submit by its tags, as fal's does.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

MEDIA: Final = Path(__file__).parent.parent.parent / "deploy" / "emulators" / "fal" / "fixtures"
VIDEO: Final = min(MEDIA.glob("*.mp4"), key=lambda file: file.stat().st_size).read_bytes()

_numbers = itertools.count(1)
_posts: dict[str, float] = {}
_listed: dict[str, dict[str, Any]] = {}
_calls: Counter[str] = Counter()
_state = {"holding": os.environ.get("HOLD") == "1"}

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    method, path = scope["method"], scope["path"]
    host = next(value for name, value in scope["headers"] if name == b"host").decode()
    if path == "/release":
        _state["holding"] = False
        await _answer(send, 200, {})
    elif path == "/posts":
        await _answer(send, 200, {"posts": _posts, "calls": _calls})
    elif path.endswith(".mp4"):
        _calls["media"] += 1
        await _answer(send, 200, VIDEO, b"video/mp4")
    elif method == "POST":
        _calls["submit"] += 1
        await _submit(scope, send, host)
    elif path.endswith("/by-endpoint"):
        _calls["listing"] += 1
        await _answer(send, 200, {"items": list(_listed.values()), "next_cursor": None})
    elif path.endswith("/status"):
        _calls["status"] += 1
        word = "IN_PROGRESS" if _state["holding"] else "COMPLETED"
        await _answer(send, 202 if _state["holding"] else 200, {"status": word, "logs": None})
    else:
        _calls["result"] += 1
        await _answer(send, 200, {"video": {"url": f"http://{host}/{next(_numbers)}.mp4"}})


async def _submit(scope: dict[str, Any], send: Send, host: str) -> None:
    text = next(value for name, value in scope["headers"] if name == b"x-fal-tags").decode()
    tags = dict(tag.split("=") for tag in text.split(","))
    _posts[tags["generation"]] = time.time()
    request_id = f"instant-{next(_numbers)}"
    _listed[request_id] = {"request_id": request_id, "tags": tags}
    base = f"http://{host}/fal-ai/veo3.1/requests/{request_id}"
    urls = {"status_url": f"{base}/status", "response_url": base, "cancel_url": f"{base}/cancel"}
    await _answer(send, 200, {"request_id": request_id, "status": "IN_QUEUE", **urls})


async def _answer(
    send: Send, status: int, content: Any, media_type: bytes = b"application/json"
) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
