"""The answer to a dry run: what would be said in earnest, less what only recording brings about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.domain.ids import locate, stream_uid

_MADE_BY_RECORDING: Final = frozenset(("position", "version"))
_OF_THE_CALLER: Final = frozenset(("metadata", "input"))
"""Whatever lies below these was given by the caller and is left alone."""


def as_dry_run(reply: HttpReply, planned: Iterable[tuple[str, int]]) -> HttpReply:
    """The same answer with `dry_run: true`, without positions, versions, and ids of what the
    `planned` events (stream, version) would have brought about. Problems stay as they are."""
    if reply.status >= 400:
        return reply
    minted = {(stream_uid(stream), version) for stream, version in planned}
    document = _stripped(msgspec.json.decode(reply.body), minted)
    return json_reply({**document, "dry_run": True}, reply.status)


def _stripped(node: Any, minted: set[tuple[int, int]]) -> Any:
    if isinstance(node, list):
        return [_stripped(item, minted) for item in node]
    if not isinstance(node, dict):
        return node
    return {name: _member(name, value, minted) for name, value in node.items()}


def _member(name: str, value: Any, minted: set[tuple[int, int]]) -> Any:
    if name in _OF_THE_CALLER:
        return value
    if name in _MADE_BY_RECORDING or (name.endswith("_id") and _is_minted(value, minted)):
        return None
    return _stripped(value, minted)


def _is_minted(value: Any, minted: set[tuple[int, int]]) -> bool:
    if not isinstance(value, str):
        return False
    found = locate(value.partition("_")[0], value)
    return found is not None and (found.stream_uid, found.version) in minted
