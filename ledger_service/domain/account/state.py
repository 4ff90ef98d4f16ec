"""The state of one account, folded from its events.

Letters in the comments are those of the equations in `equations.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.terms import NO_TERMS, Terms

NEVER = datetime.max.replace(tzinfo=UTC)
HEAD_LOTS_MAX = 32
"""Live lots that an account's head keeps at hand; the rest lies in rows of its own."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """Under a reference, this many credits of a lot are to be taken back in all."""

    reference: str
    as_of: datetime
    amount: int


class Clawback(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of the claims on a lot, besides what was taken while unspent."""

    claims: tuple[Claim, ...] = ()
    absorbed: int = 0  # a
    owed: int = 0  # q
    repaid: int = 0  # y
    forwarded: int = 0  # f


NO_CLAWBACK = Clawback()


class Lot(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Credits with one origin and one set of terms. All amounts are credits >= 0."""

    grant_id: str
    kind: str  # "grant" from outside; derived ones: see `LotDerived`
    source: str
    amount: int  # g
    remaining: int  # r, of which `held` is h
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    unit_cost_micros: int | None = None
    restrict_to: tuple[str, ...] = ()
    origin: str | None = None
    held: int = 0  # h
    spent: int = 0  # s
    repaid: int = 0  # p
    expired: int = 0  # x
    voided: int = 0  # v
    clawed_back: int = 0  # c
    moved: int = 0  # t
    is_voided: bool = False
    is_announced: bool = False  # its coming expiry
    schedule: str | None = None  # the recurring grant that it belongs to
    from_account: str | None = None  # where its origin is, if not here
    clawback: Clawback | None = None

    @property
    def free(self) -> int:
        """Unspent credits that no hold has taken."""
        return self.remaining - self.held

    @property
    def owed(self) -> int:
        """Open debt from clawbacks (q)."""
        return self.clawback.owed if self.clawback else 0

    @property
    def target(self) -> int:
        """How much of it is to be taken back in all (T)."""
        if self.clawback is None:
            return 0
        return min(self.amount, sum([claim.amount for claim in self.clawback.claims]))

    @property
    def is_live(self) -> bool:
        """Something is left of it, or owed for it."""
        return self.remaining > 0 or self.owed > 0

    def is_expired(self, now: datetime) -> bool:
        """Expiry takes effect at the instant itself."""
        return self.expires_at is not None and self.expires_at <= now

    def is_spendable(self, now: datetime) -> bool:
        """Already effective and not yet expired."""
        return self.effective_at <= now and not self.is_expired(now)

    def fits(self, tags: frozenset[str]) -> bool:
        """Unrestricted, or restricted to one of the tags."""
        return not self.restrict_to or not tags.isdisjoint(self.restrict_to)


def burn_key(lot: Lot) -> tuple[int, datetime, bool, int, str]:
    """Lots burn in ascending order of this key."""
    return (
        lot.priority,
        lot.expires_at or NEVER,
        lot.source == "purchase",
        lot.unit_cost_micros or 0,
        lot.grant_id,  # ordered by version within an account
    )


class Overflow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the head knows of live lots that it does not hold: they burn after those it holds.

    Most accounts have none, and then it takes two bytes of their head.
    """

    count: int = 0
    remaining: int = 0
    held: int = 0
    waiting: int = 0  # free credits that are not effective yet
    next_start_at: datetime = NEVER  # when the next of those become effective
    next_expiry_at: datetime = NEVER  # when the next free credits expire
    owed: int = 0
    next_unannounced_at: datetime = NEVER  # when the next do whose expiry was not announced


NO_OVERFLOW = Overflow()


class Totals(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Credits that came and went over the account's whole life (equation A3)."""

    granted: int = 0
    transferred_in: int = 0
    transferred_out: int = 0
    written_off: int = 0
    spent: int = 0
    expired: int = 0
    voided: int = 0
    clawed_back: int = 0


class AccountState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One account. `lots` is in burn order."""

    tenant: str
    account_id: str
    unit: str
    status: AccountStatus
    opened_at: datetime
    version: int
    recorded_at: datetime
    credit_limit: int = 0
    overdraft: int = 0  # o
    held_on_credit: int = 0  # k
    lots: tuple[Lot, ...] = ()
    overflow: Overflow = NO_OVERFLOW
    totals: Totals = Totals()
    merged_into: str | None = None
    owed: int = 0  # Σq
    terms: Terms = NO_TERMS

    @property
    def owner(self) -> str:
        """The account's stream."""
        return f"{self.tenant}/{self.account_id}"

    @property
    def debt(self) -> int:
        """Credits owed (A1)."""
        return self.overdraft + self.owed

    @property
    def posted(self) -> int:
        """Unspent credits less debt (A1)."""
        total = self.overflow.remaining - self.overdraft - self.owed
        for lot in self.lots:
            total += lot.remaining
        return total

    @property
    def held(self) -> int:
        """Credits under open holds (A1)."""
        total = self.held_on_credit + self.overflow.held
        for lot in self.lots:
            total += lot.held
        return total


def find_lot(lots: tuple[Lot, ...], grant_id: str) -> Lot | None:
    """The lot with this id, if it is loaded."""
    for lot in lots:
        if lot.grant_id == grant_id:
            return lot
    return None


def with_lots(state: AccountState, lots: list[Lot], *, all_live: bool) -> AccountState:
    """The state with further lots loaded; `all_live` says that none is left outside."""
    known = {lot.grant_id for lot in state.lots}
    merged = [*state.lots, *(lot for lot in lots if lot.grant_id not in known)]
    merged.sort(key=burn_key)
    overflow = NO_OVERFLOW if all_live else state.overflow
    return msgspec.structs.replace(state, lots=tuple(merged), overflow=overflow)


def parked(state: AccountState) -> tuple[AccountState, tuple[Lot, ...], tuple[Lot, ...]]:
    """Reduce the state to its head: (head, live lots beyond it, lots with nothing left)."""
    lots = state.lots
    if len(lots) <= HEAD_LOTS_MAX:
        for lot in lots:
            if not lot.remaining:
                break
        else:
            return state, (), ()
    live = tuple([lot for lot in lots if lot.is_live])
    left = tuple([lot for lot in lots if not lot.is_live])
    head, beyond = live[:HEAD_LOTS_MAX], live[HEAD_LOTS_MAX:]
    overflow = state.overflow
    if beyond:
        assert overflow.count == 0, "lots overflow only from a state that holds all of them"
        overflow = _overflow_of(beyond, state.recorded_at)
    return msgspec.structs.replace(state, lots=head, overflow=overflow), beyond, left


def _overflow_of(lots: tuple[Lot, ...], now: datetime) -> Overflow:
    free = [lot for lot in lots if lot.free]
    waiting = [lot for lot in free if lot.effective_at > now]
    ends = [(lot.expires_at or NEVER, lot.is_announced) for lot in free]
    return Overflow(
        count=len(lots),
        remaining=sum(lot.remaining for lot in lots),
        held=sum(lot.held for lot in lots),
        waiting=sum(lot.free for lot in waiting),
        next_start_at=min([lot.effective_at for lot in waiting], default=NEVER),
        next_expiry_at=min([at for at, _ in ends], default=NEVER),
        owed=sum(lot.owed for lot in lots),
        next_unannounced_at=min([at for at, told in ends if not told], default=NEVER),
    )
