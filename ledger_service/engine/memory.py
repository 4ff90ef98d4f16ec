"""What a writer remembers between batches: heads, policies, keys used, the database's clock.

All of it is a guess until the database has verified it: other processes write as well. What is
forgotten is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger_service.domain.account.state import AccountState
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import World

HEADS_MAX: Final = 16_384
"""Accounts whose heads are kept at hand: about 1.5 kB each, more with many lots."""
LOTS_MAX: Final = 8
"""An account with more lots than this is read anew for each batch, to bound what a head takes."""
KEYS_MAX: Final = 32_768
"""Digests of keys that were used lately: about 100 bytes each. Whoever asks again is answered from
the log at once, where an unknown repetition would first spoil a whole batch."""
CLOCK_SECONDS_MAX: Final = 5.0
"""After this long without word from the database its clock must be asked for first."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """The database's clock, from what it said. Of what it said lately that is believed which was
    least on its way: so this clock is never ahead, and little behind."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard_at = float("-inf")
        self._ahead = timedelta()  # of the monotonic clock, counted from 1970
        self._judged_at = float("-inf")

    @property
    def is_known(self) -> bool:
        """Whether it can be told without asking."""
        return self._monotonic() - self._heard_at <= CLOCK_SECONDS_MAX

    def hear(self, said: datetime) -> None:
        """The database has just said so."""
        self._heard_at = self._monotonic()
        ahead = said - _EPOCH - timedelta(seconds=self._heard_at)
        if ahead >= self._ahead or self._heard_at - self._judged_at > CLOCK_SECONDS_MAX:
            self._ahead, self._judged_at = ahead, self._heard_at

    def believe(self, said: datetime) -> None:
        """The database has just said so, and that what was believed until now is wrong."""
        self._judged_at = float("-inf")
        self.hear(said)

    def now(self) -> datetime:
        """Now, by the database's clock."""
        return _EPOCH + self._ahead + timedelta(seconds=self._monotonic())


class Memory:
    """Bounded; what came first is forgotten first. `world` has the heads by stream: an account that
    does not exist is None there until its batch is over."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.clock = Clock(monotonic)
        self.world = World()
        self._policies: dict[str, PolicyState | None] = {}
        self._keys: dict[bytes, None] = {}

    def has(self, owner: str) -> bool:
        """Whether a command on this account can be decided from memory."""
        is_known = owner in self.world.accounts and owner.partition("/")[0] in self._policies
        return is_known and self.clock.is_known

    def policy_version(self, tenant: str) -> int:
        """The version of the tenant's policy that decisions go by; 0: it has none."""
        policy = self._policies[tenant]
        return policy.version if policy else 0

    def keep_head(self, owner: str, state: AccountState | None) -> None:
        """Remember an account as it is in the database, unless something newer is known."""
        accounts = self.world.accounts
        known = accounts.get(owner)
        if known is not None and (state is None or state.version <= known.version):
            return
        accounts[owner] = state
        if len(accounts) > HEADS_MAX:
            del accounts[next(iter(accounts))]

    def keep_policy(self, tenant: str, policy: PolicyState | None) -> None:
        """Remember a tenant's policy."""
        self._policies[tenant] = policy
        if policy is None:
            self.world.policies.pop(tenant, None)
        else:
            self.world.policies[tenant] = policy

    def keep_key(self, digest: bytes) -> None:
        """Remember that a key was used."""
        self._keys[digest] = None
        if len(self._keys) > KEYS_MAX:
            del self._keys[next(iter(self._keys))]

    def knows_key(self, digest: bytes) -> bool:
        """Whether a key with this digest was used lately, by whomever."""
        return digest in self._keys

    def forget(self, owners: Iterable[str]) -> None:
        """What was believed of these accounts is not so, or will not be any more."""
        for owner in owners:
            self.world.accounts.pop(owner, None)

    def doubt(self, owners: Iterable[str]) -> None:
        """Something that was believed of these accounts, or of their tenants, was wrong."""
        self.forget(owners)
        for owner in owners:
            self._policies.pop(owner.partition("/")[0], None)

    def tidy(self, owners: Iterable[str]) -> None:
        """Do not keep what takes much room, nor that an account does not exist."""
        accounts = self.world.accounts
        for owner in owners:
            if owner in accounts:
                state = accounts[owner]
                if state is None or len(state.lots) > LOTS_MAX:
                    del accounts[owner]
