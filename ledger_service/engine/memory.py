"""What a writer remembers between batches: accounts with what belongs to them, policies, keys used,
the database's clock.

All of it is a guess until the database has verified it: other processes write as well. What is
forgotten is read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ledger_service.domain.account.state import AccountState
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import DebitState, Decision, HoldState, World
from ledger_service.engine.tickets import Ticket

HEADS_MAX: Final = 16_384
"""Accounts whose heads are kept at hand: about 1.5 kB each, more with many lots."""
LOTS_MAX: Final = 8
"""An account with more lots than this is read anew for each batch, to bound what a head takes."""
THINGS_MAX: Final = 256
"""Holds and debits that are kept of one account: about 1 kB each."""
KEYS_MAX: Final = 32_768
"""Digests of keys that were used lately: about 100 bytes each. Whoever asks again is answered from
the log at once, where an unknown repetition would first spoil a whole batch."""
CLOCK_SECONDS_MAX: Final = 5.0
"""After this long without word from the database its clock must be asked for first."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """The database's clock, from what it said between a question and its answer.

    What it shows is never earlier than the database's clock, and later by no more than the
    quickest of the latest answers took: so nothing is recorded as of before it was asked for. A
    batch that is quicker still waits until what it recorded is past (`Teller`).
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard_at = float("-inf")
        self._judged_at = float("-inf")
        self._ahead = timedelta()  # of the monotonic clock, counted from 1970

    @property
    def is_known(self) -> bool:
        """Whether it can be told without asking."""
        return self._monotonic() - self._heard_at <= CLOCK_SECONDS_MAX

    def hear(self, said: datetime, asked_at: float) -> None:
        """The database said so after `asked_at` of the monotonic clock."""
        self._heard_at = self._monotonic()
        most = said - _EPOCH - timedelta(seconds=asked_at)
        least = said - _EPOCH - timedelta(seconds=self._heard_at)
        is_old = self._heard_at - self._judged_at > CLOCK_SECONDS_MAX
        if most <= self._ahead or least > self._ahead or is_old:
            self._ahead, self._judged_at = most, self._heard_at

    def now(self) -> datetime:
        """Now, by the database's clock."""
        return _EPOCH + self._ahead + timedelta(seconds=self._monotonic(), microseconds=1)


class Subject(msgspec.Struct):
    """The key that an owner's private content is sealed under, as it is used and as it is stored.
    Not `is_stored`: nothing has been sealed for the owner so far."""

    key: bytes
    wrapped: bytes
    is_stored: bool


class Memory:
    """Bounded; what came first is forgotten first. `world` has the heads by stream (an account that
    does not exist is None there until its batch is over), and holds and debits by id.

    What belongs to an account is remembered and forgotten with its head: the head's version then
    vouches for all of it.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.clock = Clock(monotonic)
        self.world = World()
        self._policies: dict[str, PolicyState | None] = {}
        self._order: deque[str] = deque()  # of the accounts, as they came; some are gone again
        self._things: dict[str, list[str]] = {}  # ids of holds and debits, by owner
        self._subjects: dict[str, Subject] = {}
        self._keys: set[bytes] = set()
        self._keys_in_order: deque[bytes] = deque()

    def has(self, ticket: Ticket) -> bool:
        """Whether the ticket can be decided from memory, as far as one can tell beforehand."""
        owner = ticket.submission.command.owner
        if owner not in self.world.accounts or owner.partition("/")[0] not in self._policies:
            return False
        if ticket.submission.private and owner not in self._subjects:
            return False
        return self.clock.is_known

    def policy_version(self, tenant: str) -> int:
        """The version of the tenant's policy that decisions go by; 0: it has none."""
        policy = self._policies[tenant]
        return policy.version if policy else 0

    def subject(self, owner: str) -> Subject:
        """The key of the owner's vault."""
        return self._subjects[owner]

    def keep_head(self, owner: str, state: AccountState | None) -> None:
        """Remember an account as it is in the database, unless something newer is known."""
        accounts = self.world.accounts
        known = accounts.get(owner)
        if known is not None:
            if state is None or state.version <= known.version:
                return
            self._drop(owner)  # what was known beside it is as old as what was known of it
        if owner not in accounts:
            self._order.append(owner)
            if len(self._order) > HEADS_MAX:
                self._drop(self._order.popleft())
        accounts[owner] = state

    def keep_policy(self, tenant: str, policy: PolicyState | None) -> None:
        """Remember a tenant's policy."""
        self._policies[tenant] = policy
        if policy is None:
            self.world.policies.pop(tenant, None)
        else:
            self.world.policies[tenant] = policy

    def keep_hold(self, owner: str, hold_id: str, hold: HoldState | None) -> None:
        """Remember a hold of a remembered account, unless something newer is known."""
        if owner in self.world.accounts and hold_id not in self.world.holds:
            self.world.holds[hold_id] = hold
            self._things.setdefault(owner, []).append(hold_id)

    def keep_debit(self, owner: str, debit_id: str, debit: DebitState | None) -> None:
        """Remember a debit of a remembered account, unless something newer is known."""
        if owner in self.world.accounts and debit_id not in self.world.debits:
            self.world.debits[debit_id] = debit
            self._things.setdefault(owner, []).append(debit_id)

    def keep_subject(self, owner: str, key: bytes, wrapped: bytes, *, is_stored: bool) -> None:
        """Remember the key of a remembered account's vault, unless one is known."""
        if owner in self.world.accounts:
            self._subjects.setdefault(owner, Subject(key, wrapped, is_stored))

    def keep_key(self, digest: bytes) -> None:
        """Remember that a key was used."""
        self._keys.add(digest)
        self._keys_in_order.append(digest)
        if len(self._keys_in_order) > KEYS_MAX:
            self._keys.discard(self._keys_in_order.popleft())

    def knows_key(self, digest: bytes) -> bool:
        """Whether a key with this digest was used lately, by whomever."""
        return digest in self._keys

    def apply(self, owner: str, decision: Decision) -> None:
        """What the account and its holds and debits are after a decision of a warm batch."""
        world = self.world
        world.accounts.update(decision.accounts)
        if decision.holds:
            world.holds.update(decision.holds)
            self._things.setdefault(owner, []).extend(decision.holds)
        if decision.debits:
            world.debits.update(decision.debits)
            self._things.setdefault(owner, []).extend(decision.debits)

    def forget(self, owners: Iterable[str]) -> None:
        """What was believed of these accounts is not so, or will not be any more."""
        for owner in owners:
            self._drop(owner)

    def doubt(self, owners: Iterable[str]) -> None:
        """Something that was believed of these accounts, or of their tenants, was wrong."""
        for owner in owners:
            self._drop(owner)
            self._policies.pop(owner.partition("/")[0], None)

    def tidy(self, owners: Iterable[str]) -> None:
        """Do not keep what takes much room, nor that an account does not exist."""
        for owner in owners:
            if owner in self.world.accounts:
                state = self.world.accounts[owner]
                things = len(self._things.get(owner, ()))
                if state is None or len(state.lots) > LOTS_MAX or things > THINGS_MAX:
                    self._drop(owner)

    def _drop(self, owner: str) -> None:
        self.world.accounts.pop(owner, None)
        self._subjects.pop(owner, None)
        for thing in self._things.pop(owner, ()):
            self.world.holds.pop(thing, None)
            self.world.debits.pop(thing, None)
