"""fal's listing of past requests: what its items say, and whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from contracts.jobs import Claim
from job_worker.errors import ProviderUnavailable
from job_worker.providers.port import Listed

LISTING_PATH: Final = "/models/requests/by-endpoint"
ENDPOINTS_MAX: Final = 50
"""Endpoints that one call may ask for."""
_TAKES_SEED: Final = ("fal-ai/veo3.1", "fal-ai/flux/", "fal-ai/wan")
"""Endpoints whose input has an optional `seed`, by prefix."""


def takes_seed(endpoint: str) -> bool:
    """Whether a seed of ours may mark what is submitted there."""
    return endpoint.startswith(_TAKES_SEED)


def attempt_seed(attempt_id: str) -> int:
    """The 31-bit seed that marks an attempt where the listing shows no tags."""
    return int.from_bytes(hashlib.sha256(attempt_id.encode()).digest()[:4], "big") >> 1


def is_ours(item: Mapping[str, Any], claim: Claim) -> bool:
    """Whether an item is the claimed attempt's: by its tags, or where it shows none, its seed."""
    attempt_id, tags = claim.attempt.attempt_id, item.get("tags")
    if isinstance(tags, dict) and "attempt" in tags:
        return bool(tags["attempt"] == attempt_id)
    we_chose_it = "seed" not in claim.input and takes_seed(claim.endpoint)
    return we_chose_it and _seed(item) == attempt_seed(attempt_id)


def request_id_of(fields: Mapping[str, Any]) -> str | None:
    """The request id in an answer or an item, if it is one."""
    request_id = fields.get("request_id")
    if isinstance(request_id, str) and 1 <= len(request_id) <= 128 and "\x00" not in request_id:
        return request_id
    return None


def items_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of a page."""
    items = page.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def cursor_of(page: Mapping[str, Any]) -> str | None:
    """Where the next page begins; None after the last one."""
    cursor = page.get("next_cursor")
    return cursor if isinstance(cursor, str) and cursor else None


def shows_tags(item: Mapping[str, Any]) -> bool:
    """Whether an item tells its tags; without them its input must."""
    return isinstance(item.get("tags"), dict)


def listed(item: Mapping[str, Any]) -> Listed:
    """An item as the port has it. Raises `ProviderUnavailable` for one that says too little: to
    leave it out could be to overlook a bill."""
    request_id, endpoint = request_id_of(item), item.get("endpoint_id")
    sent_at, status_code = _instant(item.get("sent_at")), item.get("status_code")
    if request_id is None or not isinstance(endpoint, str) or sent_at is None:
        raise ProviderUnavailable("unreadable")
    tags, seed = item.get("tags"), _seed(item)
    return Listed(
        request_id=request_id,
        endpoint=endpoint,
        sent_at=sent_at,
        ended_at=_instant(item.get("ended_at")),
        status_code=status_code if type(status_code) is int else None,
        generation_id=_tag(tags, "generation"),
        attempt_id=_tag(tags, "attempt"),
        mark=None if seed is None else str(seed),
    )


def _tag(tags: object, name: str) -> str | None:
    value = tags.get(name) if isinstance(tags, dict) else None
    return value if isinstance(value, str) and value else None


def _seed(item: Mapping[str, Any]) -> int | None:
    sent_input = item.get("json_input")
    seed = sent_input.get("seed") if isinstance(sent_input, dict) else None
    return seed if type(seed) is int else None


def _instant(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
