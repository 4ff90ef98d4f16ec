"""Tenants' policies, as the API reads them."""

from __future__ import annotations

from typing import Final

from psycopg import AsyncRawCursor

from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import PolicyState
from ledger_service.store.folding import StoredHead, policy_head, run_steps_async
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

_SQL: Final = load_statements("reads")


async def read_policy(pool: ReadPool, tenant: str) -> PolicyState | None:
    """The tenant's policy; None while it has never set one. Raises `Unavailable`."""

    async def work(connection: Connection) -> PolicyState | None:
        cursor = AsyncRawCursor(connection)
        await cursor.execute(_SQL["account"], (policy_owner(tenant),), binary=True)
        row = await cursor.fetchone()
        if row is None:
            return None
        owner, (_, snapshot_version, snapshot, _, version) = policy_owner(tenant), row
        head = StoredHead(owner, owner, version, snapshot_version, snapshot)
        return await run_steps_async(policy_head(head), connection)

    return await pool.read(work)
