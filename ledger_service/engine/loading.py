"""Turns loaded rows into a world, and loads what decisions ask for under the same locks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from ledger_service.domain.account.holds import RELEASES_MAX
from ledger_service.domain.account.state import AccountState, Lot, with_lots
from ledger_service.domain.commands import Command, SetPolicy, streams
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.ids import is_policy, split_owner
from ledger_service.domain.world import HoldState, Need, World
from ledger_service.store.folding import StoredHead, account_head, generation_head, policy_head
from ledger_service.store.heads import decode_account, is_old
from ledger_service.store.wanted import Head, Loaded, Wanted
from ledger_service.store.writing import WritingConnection

AHEAD_MAX: Final = timedelta(seconds=5)
"""A head further ahead of the database's clock than this means that a clock was set back."""

_log = logging.getLogger(__name__)


class Loader:
    """Fills a world.

    Lots that came from rows are remembered in `rows_of_lots`, so that one can tell whether they
    changed since. `before` has the versions of the streams that exist; any other is new.
    """

    def __init__(self, connection: WritingConnection, world: World, loaded: Loaded) -> None:
        self._connection = connection
        self._world = world
        self._clock = loaded.now
        self.rows_of_lots: dict[str, Lot] = {}
        self.before = {head.stream: head.version for head in loaded.heads}

    async def fill(self, wanted: Wanted, loaded: Loaded) -> None:
        """The world as it is at the beginning of a batch."""
        heads = {head.stream: head for head in loaded.heads}
        for owner, stream in wanted.streams:
            head = heads.get(stream)
            if is_policy(stream):
                pass  # policies come below, with those of all tenants
            elif stream == owner:
                self._world.accounts[stream] = await self._account(head) if head else None
            else:
                self._world.generations[stream] = (
                    await self._generation(owner, head) if head else None
                )
        for policy in loaded.policies:
            tenant = split_owner(policy.stream)[0]
            stored = _stored(policy.stream, policy)
            found_policy = await self._connection.converse(policy_head(stored))
            self._world.policies[tenant] = found_policy
        for job in loaded.jobs:
            self._world.jobs[job.generation_id] = job

    async def _account(self, head: Head) -> AccountState:
        if not is_old(head.snapshot_version):
            return decode_account(head.snapshot, head.snapshot_version)
        state = await self._connection.converse(account_head(_stored(head.stream, head)))
        # What rows say of its lots is as old as the head: each is written again.
        self.rows_of_lots.update({lot.grant_id: replace(lot) for lot in state.lots})
        return state

    async def _generation(self, owner: str, head: Head) -> GenerationState:
        return await self._connection.converse(generation_head(_stored(owner, head)))

    def time_for(self, command: Command, extra_streams: frozenset[str]) -> datetime:
        """The database's clock, but never before anything recorded in the command's streams."""
        now = self._clock
        for stream in streams(command) | extra_streams:
            account = self._world.accounts.get(stream)
            if account is not None and account.recorded_at > now:
                now = account.recorded_at
            generation = self._world.generations.get(stream)
            if generation is not None and generation.updated_at > now:
                now = generation.updated_at
        if isinstance(command, SetPolicy):
            known = self._world.policies.get(split_owner(command.owner)[0])
            now = max(now, known.recorded_at) if known else now
        if now - self._clock > AHEAD_MAX:
            _log.critical(
                "%s is %s ahead of the database's clock", command.owner, now - self._clock
            )
        return now

    def holds(self, wanted: frozenset[str]) -> bool:
        """Whether these streams' heads are locked and loaded."""
        return all(
            stream in self._world.accounts or stream in self._world.generations for stream in wanted
        )

    async def load(self, need: Need) -> None:
        """Load what hangs on accounts whose heads are locked."""
        connection, world = self._connection, self._world
        if need.debits:
            world.debits.update(await connection.load_debits(sorted(need.debits)))
        if need.lots:
            loaded = await connection.load_lots(sorted(need.lots))
            self._add(loaded, frozenset(owner for owner, _ in need.lots), all_live=False)
        if need.all_lots:
            loaded = await connection.load_lots_beyond(sorted(need.all_lots))
            self._add(loaded, need.all_lots, all_live=True)
        if need.holds:
            self._add_holds(await connection.load_holds(sorted(need.holds)))
        for owner, reference in sorted(need.open_holds):
            await self._add_open_holds(owner, reference)
        for owner in sorted(need.in_flight):
            world.in_flight[owner] = await connection.load_in_flight(owner)
        for tenant, most in sorted(need.crowds):
            world.crowds[tenant] = (await connection.count_crowd(tenant, most), most)
        for whose, day in sorted(need.begun):
            world.begun[whose, day] = await connection.load_begun(whose, day)
        if need.grants:
            world.grants.update(await connection.load_grants(sorted(need.grants)))
        wanted = need.derived
        while wanted:  # and what came of those, since that will be asked for next
            derived = await connection.load_derived(sorted(wanted))
            world.derived.update(derived)
            made = frozenset(lot for lots in derived.values() for lot in lots)
            wanted = made - world.derived.keys()

    async def _add_open_holds(self, owner: str, reference: str) -> None:
        """Enough for one command, whatever neighbours in this batch have ended of them."""
        world = self._world
        known = [hold for hold in world.holds_with(owner, reference) if not hold.is_open]
        most = RELEASES_MAX + 1 + len(known)
        holds = await self._connection.load_open_holds(owner, reference, most)
        self._add_holds(holds)
        world.open_holds[owner, reference] = tuple(holds)
        if len(holds) == most:
            world.cut_open_holds.add((owner, reference))
        else:
            world.cut_open_holds.discard((owner, reference))

    def _add_holds(self, loaded: Mapping[str, HoldState | None]) -> None:
        """What a neighbour in this batch has made of a hold is newer than its row."""
        for hold_id, hold in loaded.items():
            self._world.holds.setdefault(hold_id, hold)

    def _add(self, loaded: dict[str, list[Lot]], owners: frozenset[str], *, all_live: bool) -> None:
        for owner in owners:
            state = self._world.accounts[owner]
            assert state is not None
            known = {lot.grant_id for lot in state.lots}
            lots = [lot for lot in loaded.get(owner, []) if lot.grant_id not in known]
            self.rows_of_lots.update({lot.grant_id: lot for lot in lots})
            self._world.accounts[owner] = with_lots(state, lots, all_live=all_live)


def _stored(owner: str, head: Head) -> StoredHead:
    return StoredHead(owner, head.stream, head.version, head.snapshot_version, head.snapshot)
