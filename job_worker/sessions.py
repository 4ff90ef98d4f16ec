"""How every aiohttp session of the worker is opened: what it keeps, trusts and follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver

KEEP_ALIVE_SECONDS: Final = 3.0
"""Shorter than servers' own, so that hardly a request meets a connection that closes."""


def open_session(
    *,
    connections_max: int,
    headers: Mapping[str, str] | None = None,
    fresh: bool = False,
    resolver: AbstractResolver | None = None,
) -> aiohttp.ClientSession:
    """A session of the running event loop; with `fresh`, a connection for each request.

    It keeps no cookie, unfolds no compressed answer (a small one could become any size), and takes
    no proxy from the environment: its headers may hold a key.
    """
    connector = aiohttp.TCPConnector(
        limit=connections_max,
        force_close=fresh,
        keepalive_timeout=None if fresh else KEEP_ALIVE_SECONDS,
        resolver=resolver,
        ssl=httpx.create_ssl_context(),  # one set of trusted roots for the whole process
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={**(headers or {}), "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
