"""What the calls of a tenant have in common."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from contracts.api.common import Request
from contracts.client.transport import Client, segment

Reply = TypeVar("Reply")


class TenantClient(Client):
    """Reads, keyed writes and replacements."""

    async def _read(
        self, path: str, reply_type: type[Reply], *, min_position: int | None = None
    ) -> Reply:
        query = None if min_position is None else {"min_position": str(min_position)}
        return await self._transport.call("GET", path, reply_type, query=query)

    async def _write(
        self,
        path: str,
        reply_type: type[Reply],
        request: Request,
        key: str,
        *,
        dry_run: bool = False,
    ) -> Reply:
        return await self._transport.call(
            "POST",
            path,
            reply_type,
            body=request,
            query=dry_run_query(dry_run=dry_run),
            idempotency_key=key,
        )

    async def _replace(
        self, path: str, reply_type: type[Reply], request: msgspec.Struct, *, dry_run: bool = False
    ) -> Reply:
        """Needs no key: to replace something twice by the same is to do it once."""
        return await self._transport.call(
            "PUT",
            path,
            reply_type,
            body=request,
            query=dry_run_query(dry_run=dry_run),
            repeatable=True,
        )


def dry_run_query(*, dry_run: bool) -> dict[str, str] | None:
    """The query of a write."""
    return {"dry_run": "true"} if dry_run else None


def account_path(account_id: str) -> str:
    """The address of an account."""
    return f"/v1/accounts/{segment(account_id)}"
