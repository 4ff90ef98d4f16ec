"""Generations and due work, as the API reads them. Every method may raise `Unavailable`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncRawCursor

from contracts.jobs import LogLine, RunningReport
from ledger_service.domain.generation.state import LOW_WAITS_MAX, GenerationState
from ledger_service.domain.ids import first_id, milliseconds_of
from ledger_service.store.folding import StoredHead, generation_head, run_steps_async
from ledger_service.store.log_head import read_log_head
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.statements import load_statements
from ledger_service.store.vault import Vault

WATCHED_MAX: Final = 100
"""Generations of one account, its newest, whose changes a stream tells."""
_BEFORE_ALL: Final = "~"
"""Sorts after every id."""

_SQL: Final = load_statements("generations")


class GenerationView(msgspec.Struct, frozen=True, kw_only=True):
    """A generation with what the vault keeps of it; null parts were erased.

    `refunded` is what has been given back of its debit so far, for whatever reason, in credits.
    `progress` is null for one that has ended, and while nothing is remembered of its provider.
    """

    state: GenerationState
    refunded: int
    private: dict[str, Any] | None
    ending_private: dict[str, Any] | None
    progress: ProgressView | None = None


class GenerationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which generations are wanted; null means any. `owner` is null for a whole tenant, whose
    flagged ones alone can be listed. `until` is exclusive."""

    tenant: str
    owner: str | None
    status: str | None = None
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    flagged: bool = False


class ProgressView(msgspec.Struct, frozen=True):
    """What the provider said of a generation at `seen_at`; `logs` are the newest lines of its
    model."""

    provider_status: str
    queue_position: int | None
    seen_at: datetime
    logs: tuple[LogLine, ...]


class GenerationReads:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def note_claims(self) -> None:
        """Remember that a worker has asked for work just now."""

        async def work(connection: Connection) -> None:
            await _rows(connection, "note_claims", (), fetch=False)

        await self._pool.write(work)

    async def due(self, limit: int) -> list[tuple[str, str]]:
        """(owner, generation id) of what is due now: tenants in turn, of each the longest due
        first, and what may wait in the end."""
        values = (limit, LOW_WAITS_MAX)
        return await self._pool.read(lambda connection: _rows(connection, "due", values))

    async def owner_of(self, generation_id: str) -> str | None:
        """Whose generation it is."""
        values = (generation_id,)
        rows = await self._pool.read(lambda connection: _rows(connection, "owner_of", values))
        return rows[0][0] if rows else None

    async def owners_of(self, generation_ids: Collection[str]) -> dict[str, str]:
        """Owner by generation id, of those that exist."""
        values = (list(set(generation_ids)),)
        return dict(
            await self._pool.read(lambda connection: _rows(connection, "owners_of", values))
        )

    async def contents(self, wanted: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any] | None]:
        """What the vault keeps under (owner, digest) each, by digest; None when it was erased."""
        if not wanted:
            return {}
        return await self._pool.read(lambda connection: self._vault.open_many(connection, wanted))

    async def note_progress(self, seen: Mapping[str, tuple[str, RunningReport]]) -> None:
        """Remember what the provider said just now of generations, by id, and of whose they are."""

        async def work(connection: Connection) -> None:
            owners = list({owner for owner, report in seen.values() if report.logs})
            found = await _rows(connection, "subject_keys", (owners,)) if owners else []
            keys = dict(found)
            rows = [
                (
                    generation_id,
                    report.provider_status,
                    report.queue_position,
                    _sealed_logs(self._vault, owner, keys.get(owner), report.logs),
                )
                for generation_id, (owner, report) in seen.items()
            ]
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            await _rows(connection, "note_progress", columns, fetch=False)

        await self._pool.write(work)

    async def note_verdicts(self, generation_ids: Collection[str]) -> None:
        """Remember that the provider is done with these, as far as that is news."""

        async def work(connection: Connection) -> None:
            values = (list(set(generation_ids)),)
            await _rows(connection, "note_verdicts", values, fetch=False)

        await self._pool.write(work)

    async def one(self, generation_id: str) -> GenerationView | None:
        """The generation as it stands now."""
        views = await self._views("one", (generation_id,))
        return views[0] if views else None

    async def page(
        self, wanted: GenerationFilter, before: str | None, limit: int
    ) -> list[GenerationView]:
        """Generations older than the one named `before`, newest first; deleted ones left out."""
        found: list[GenerationView] = []
        while len(found) < limit:
            statement, values = _listing(wanted, before, limit)
            views = await self._views(statement, values)
            found += [view for view in views if view.state.deleted_at is None]
            if len(views) < limit:
                break
            before = views[-1].state.generation_id
        return found[:limit]

    async def changed(self, owner: str, after: int | None) -> tuple[list[GenerationView], int]:
        """Of an account's newest generations those that changed after a position of the log (null:
        those under way), in the order of their changes, deleted ones left out; and the position up
        to which that is so."""

        async def work(connection: Connection) -> tuple[list[GenerationView], int]:
            async with snapshot(connection):
                head = await read_log_head(connection)
                values = (owner, after, WATCHED_MAX)
                views = await self._read(connection, "changed", values)
                return [view for view in views if view.state.deleted_at is None], head

        return await self._pool.read(work)

    async def _views(self, name: str, values: tuple[Any, ...]) -> list[GenerationView]:
        async def work(connection: Connection) -> list[GenerationView]:
            async with snapshot(connection):
                return await self._read(connection, name, values)

        return await self._pool.read(work)

    async def _read(
        self, connection: Connection, name: str, values: tuple[Any, ...]
    ) -> list[GenerationView]:
        heads = [StoredHead._make(row) for row in await _rows(connection, name, values)]
        states = [await run_steps_async(generation_head(head), connection) for head in heads]
        return await self._completed(connection, states)

    async def _completed(
        self, connection: Connection, states: list[GenerationState]
    ) -> list[GenerationView]:
        if not states:
            return []
        debits = [(state.owner, state.debit_id) for state in states if state.debit_id]
        columns = [list(column) for column in zip(*debits, strict=True)] or [[], []]
        progress = await self._progress(connection, states)
        refunded = dict(await _rows(connection, "refunded", tuple(columns)))
        entries = [(state.owner, state.private) for state in states]
        entries += [(s.owner, s.ending.private) for s in states if s.ending and s.ending.private]
        opened = await self._vault.open_many(connection, entries)
        return [
            GenerationView(
                state=state,
                refunded=refunded.get(state.debit_id, 0),
                private=opened[state.private],
                ending_private=opened.get(state.ending.private or "") if state.ending else None,
                progress=progress.get(state.generation_id),
            )
            for state in states
        ]

    async def _progress(
        self, connection: Connection, states: list[GenerationState]
    ) -> dict[str, ProgressView]:
        """What is remembered of those that are under way, by their ids."""
        under_way = [state for state in states if not state.status.is_final]
        if not under_way:
            return {}
        owners = {state.generation_id: state.owner for state in under_way}
        rows = await _rows(connection, "progress", (list(owners.values()), list(owners)))
        return {
            generation_id: ProgressView(
                status,
                position,
                seen_at,
                _opened_logs(self._vault, owners[generation_id], wrapped, sealed),
            )
            for generation_id, status, position, seen_at, sealed, wrapped in rows
        }


def _sealed_logs(
    vault: Vault, owner: str, wrapped: bytes | None, logs: tuple[LogLine, ...]
) -> bytes | None:
    """The lines under their owner's key; nothing when there are none, or no key any more."""
    if not logs or wrapped is None:
        return None
    return vault.seal(owner, vault.unwrap(owner, wrapped), {"logs": logs}).ciphertext


def _opened_logs(
    vault: Vault, owner: str, wrapped: bytes | None, sealed: bytes | None
) -> tuple[LogLine, ...]:
    """The lines; none when their owner's key was destroyed."""
    if wrapped is None or sealed is None:
        return ()
    content = vault.unseal(owner, vault.unwrap(owner, wrapped), sealed)
    return msgspec.convert(content["logs"], tuple[LogLine, ...])


def _listing(
    wanted: GenerationFilter, before: str | None, limit: int
) -> tuple[str, tuple[Any, ...]]:
    """The statement for the filter that leaves the fewest, with its values; the other filters are
    looked at on the way."""
    after = "" if wanted.since is None else first_id("gen", milliseconds_of(wanted.since))
    if wanted.until is not None:
        end = first_id("gen", milliseconds_of(wanted.until) + 1)
        before = end if before is None else min(before, end)
    span = (wanted.owner, after, before or _BEFORE_ALL, limit, wanted.since, wanted.until)
    if wanted.flagged:
        return "page_flagged", (*span, wanted.tenant, wanted.status, wanted.model)
    if wanted.model is not None:
        return "page_by_model", (*span, wanted.model, wanted.status)
    if wanted.status is not None:
        return "page_by_status", (*span, wanted.status)
    return "page", span


async def _rows(
    connection: Connection, name: str, values: tuple[Any, ...], *, fetch: bool = True
) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name].encode(), values)
    return await cursor.fetchall() if fetch else []
