"""What clients ask for: commands drawn from the seed, about what earlier answers told them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, Final

from contracts.api.accounts import AccountStatus
from ledger_service.domain import commands
from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.commands import Command, Key
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import CommandAccepted, CreditsDebited, CreditsGranted
from ledger_service.domain.events.holds import HoldCaptured, HoldPlaced
from ledger_service.domain.ids import owner_of, policy_owner
from ledger_service.domain.policy import Policy
from tests.simulation.clock import Clock
from tests.simulation.desk import CATALOGUE, MODEL

TENANT: Final = "acme"
OWNERS: Final = [owner_of(TENANT, name) for name in ("ann", "bob", "cy", "dot")]
_TAGS: Final = ("video", MODEL, "image")


class Asking:
    """Makes commands. Which kinds a history has, and how many of each, is the seed's choice."""

    def __init__(self, chance: Random, clock: Clock, *, has_generations: bool) -> None:
        self._chance = chance
        self._clock = clock
        self._keys = 0
        self.grants: list[tuple[str, str]] = []
        self.debits: list[tuple[str, str]] = []
        self.holds: list[tuple[str, str]] = []
        self.generations: list[tuple[str, str]] = []
        usual: dict[Callable[[str], Command | None], int] = {
            self._grant: 10, self._debit: 8, self._hold: 5, self._capture: 3, self._release: 2,
            self._extend: 1, self._release_many: 1, self._refund: 5, self._claw_back: 4,
            self._void: 2, self._write_off: 2, self._transfer: 5, self._merge: 2, self._limit: 1,
            self._stand: 1, self._schedules: 1, self._thresholds: 1, self._spend_limits: 1,
            self._policy: 1, self._sweep: 1, self._expire_hold: 1,
        }  # fmt: skip
        if has_generations:
            usual[self._cancel] = 2
            usual[self._generation] = 12
        self._makers = list(usual)
        self._weights = [weight * chance.choice((0, 1, 1, 3, 12)) for weight in usual.values()]
        self._weights[0] += 3
        if has_generations:
            self._weights[-1] += 5

    def key(self) -> Key:
        """One that was never used."""
        self._keys += 1
        return Key("k", f"key-{self._keys}")

    def open(self, owner: str) -> Command:
        """An account to begin with."""
        limit = self._chance.choice((0, 0, 0, 40, 200))
        return commands.OpenAccount(
            owner=owner, key=self.key(), unit="credit", credit_limit=limit,
        )  # fmt: skip

    def next(self) -> Command:
        """Some command; it may well be refused."""
        while True:
            maker = self._chance.choices(self._makers, self._weights)[0]
            owner = self._chance.choice((*OWNERS, *OWNERS[:1] * 3))  # one is hot
            if (command := maker(owner)) is not None:
                return command

    def first_grant(self, owner: str) -> Command:
        """Something to live on."""
        amount = self._chance.choice((100, 400))
        return commands.GrantCredits(
            owner=owner, key=self.key(), amount=amount, source="purchase", priority=50
        )

    def burst(self) -> list[Command]:
        """So many small grants at once that an account's head does not hold all its lots."""
        owner = self._chance.choice(OWNERS)
        return [
            commands.GrantCredits(
                owner=owner,
                key=self.key(),
                amount=self._chance.choice((1, 3)),
                source="promo",
                priority=self._chance.choice((10, 50)),
                expires_at=self._clock.now() + timedelta(seconds=self._chance.choice((30, 9000))),
            )
            for _ in range(36)
        ]

    def learn(self, owner: str, event: Event) -> None:
        """An answer tells ids that later commands may name."""
        if isinstance(event, CreditsGranted):
            self.grants.append((owner, event.grant_id))
        elif isinstance(event, CreditsDebited | HoldCaptured):
            self.debits.append((owner, event.debit_id))
        elif isinstance(event, HoldPlaced):
            self.holds.append((owner, event.hold.hold_id))
        if isinstance(event, CreditsDebited | CommandAccepted) and event.generation_id:
            self.generations.append((owner, event.generation_id))

    def _other(self, owner: str) -> str:
        return self._chance.choice([other for other in OWNERS if other != owner])

    def _some(self, known: list[tuple[str, str]]) -> tuple[str, str] | None:
        # Mostly the newest: what is older has come to its end.
        return self._chance.choice(known[-6:]) if known else None

    def _amount(self) -> int:
        return self._chance.choice((1, 7, 20, 45, 90, 200))

    def _seconds(self, *of: int | None) -> timedelta | None:
        seconds = self._chance.choice(of)
        return None if seconds is None else timedelta(seconds=seconds)

    def _tags(self) -> tuple[str, ...]:
        return self._chance.choice(((), (), (_TAGS[0],), _TAGS[:2], (_TAGS[2],)))

    def _grant(self, owner: str) -> Command:
        starts = self._seconds(None, None, None, 20, 4000)
        lasts = self._seconds(None, None, 1, 30, 600, 90_000)
        now = self._clock.now()
        return commands.GrantCredits(
            owner=owner,
            key=self.key(),
            amount=self._amount(),
            source=self._chance.choice(("purchase", "promo", "subscription")),
            priority=self._chance.choice((10, 50, 50)),
            effective_at=now + starts if starts else None,
            expires_at=now + (starts or timedelta()) + lasts if lasts else None,
            is_expiry_open=lasts is None,
            unit_cost_micros=self._chance.choice((None, 0, 5)),
            restrict_to=self._chance.choice(((), (), (), (_TAGS[0],))),
        )

    def _debit(self, owner: str) -> Command:
        return commands.DebitCredits(
            owner=owner,
            key=self.key(),
            amount=self._amount(),
            tags=self._tags(),
            spender=self._chance.choice(("key-a", "key-b")),
        )

    def _hold(self, owner: str) -> Command:
        return commands.PlaceHold(
            owner=owner,
            key=self.key(),
            amount=self._amount(),
            ttl=self._seconds(None, 5, 60, 7200),
            tags=self._tags(),
            reference=self._chance.choice((None, "ref-1", "ref-2")),
            spender="key-a",
        )

    def _capture(self, _: str) -> Command | None:
        if (hold := self._some(self.holds)) is None:
            return None
        amount = self._chance.choice((None, None, 1, 7, 20))
        return commands.CaptureHold(owner=hold[0], key=self.key(), hold_id=hold[1], amount=amount)

    def _release(self, _: str) -> Command | None:
        if (hold := self._some(self.holds)) is None:
            return None
        return commands.ReleaseHold(owner=hold[0], key=self.key(), hold_id=hold[1])

    def _extend(self, _: str) -> Command | None:
        if (hold := self._some(self.holds)) is None:
            return None
        ttl = timedelta(seconds=self._chance.choice((1, 100, 9000)))
        return commands.ExtendHold(owner=hold[0], key=self.key(), hold_id=hold[1], ttl=ttl)

    def _release_many(self, owner: str) -> Command:
        return commands.ReleaseHolds(owner=owner, key=self.key(), reference="ref-1")

    def _refund(self, _: str) -> Command | None:
        if (debit := self._some(self.debits)) is None:
            return None
        amount = self._chance.choice((None, None, 1, 7, 20))
        return commands.RefundDebit(
            owner=debit[0], key=self.key(), debit_id=debit[1], amount=amount
        )

    def _claw_back(self, _: str) -> Command | None:
        if (grant := self._some(self.grants)) is None:
            return None
        by_amount = self._chance.random() < 0.5
        ago = timedelta(seconds=self._chance.choice((0, 0, 50)))
        return commands.ClawBack(
            owner=grant[0],
            key=self.key(),
            grant_id=grant[1],
            reference=self._chance.choice(("case-1", "case-1", "case-2")),
            as_of=self._clock.now() - ago,
            amount=self._chance.choice((0, 10, 45)) if by_amount else None,
            fraction_millis=None if by_amount else self._chance.choice((0, 333, 1000)),
        )

    def _void(self, _: str) -> Command | None:
        if (grant := self._some(self.grants)) is None:
            return None
        return commands.VoidGrant(owner=grant[0], key=self.key(), grant_id=grant[1])

    def _write_off(self, owner: str) -> Command:
        amount = self._chance.choice((None, 5))
        return commands.WriteOffDebt(owner=owner, key=self.key(), amount=amount)

    def _transfer(self, owner: str) -> Command:
        return commands.TransferCredits(
            owner=owner,
            key=self.key(),
            to_owner=self._other(owner),
            amount=self._chance.choice((None, 3, 20, 45)),
        )

    def _merge(self, owner: str) -> Command | None:
        if self._chance.random() < 0.5:
            return None  # what is merged is out of the game
        target = self._other(owner)
        return commands.TransferCredits(owner=owner, key=self.key(), to_owner=target, is_merge=True)

    def _limit(self, owner: str) -> Command:
        limit = self._chance.choice((0, 30, 300))
        return commands.ChangeCreditLimit(owner=owner, key=self.key(), credit_limit=limit)

    def _stand(self, owner: str) -> Command:
        status = self._chance.choice(
            (AccountStatus.FROZEN, AccountStatus.ACTIVE, AccountStatus.ACTIVE, AccountStatus.CLOSED)
        )
        return commands.ChangeStanding(owner=owner, key=self.key(), status=status)

    def _schedules(self, owner: str) -> Command:
        now = self._clock.now()
        schedule = Schedule(
            schedule_id="plan",
            amount=self._amount(),
            unit=self._chance.choice(("day", "week", "month")),
            starts_at=now - timedelta(days=self._chance.choice((0, 0, 1, 40))),
            time_zone=self._chance.choice(("UTC", "Europe/Berlin")),
            expires_after_periods=self._chance.choice((1, 1, None)),
            rollover_cap=self._chance.choice((0, 15)),
        )
        return commands.SetSchedules(owner=owner, key=self.key(), schedules=(schedule,))

    def _thresholds(self, owner: str) -> Command:
        notice = self._chance.choice((None, 60, 100_000))
        watched = Thresholds(low_balance=(10, 50), expiry_notice_seconds=notice)
        return commands.SetThresholds(owner=owner, key=self.key(), thresholds=watched)

    def _spend_limits(self, owner: str) -> Command:
        window = self._chance.choice(("day", "month", "lifetime"))
        limit = SpendLimit(limit_id="cap", amount=100, window=window, per_key=True)
        return commands.SetLimits(owner=owner, key=self.key(), limits=(limit,))

    def _policy(self, _: str) -> Command:
        policy = Policy(
            grace=timedelta(seconds=self._chance.choice((0, 40, 604_800))),
            repay_debt=self._chance.random() < 0.7,
            expires_after=self._chance.choice(({}, {"promo": timedelta(seconds=900)})),
            promotional_first=self._chance.random() < 0.3,
        )
        return commands.SetPolicy(owner=policy_owner(TENANT), policy=policy)

    def _sweep(self, owner: str) -> Command:
        return commands.BookExpiry(owner=owner)

    def _expire_hold(self, _: str) -> Command | None:
        """The clockwork of somebody whose clock is wrong."""
        if (hold := self._some(self.holds)) is None:
            return None
        return commands.ExpireHold(owner=hold[0], hold_id=hold[1])

    def _generation(self, owner: str) -> Command:
        offer = CATALOGUE.offer(MODEL)
        return commands.RequestGeneration(
            owner=owner,
            key=self.key(),
            model=MODEL,
            price=self._chance.choice((20, 20, 20, 0)),
            tags=offer.tags,
            deadline_after=timedelta(seconds=self._chance.choice((20, 60, 150))),
            spender="key-a",
        )

    def _cancel(self, _: str) -> Command | None:
        if (generation := self._some(self.generations)) is None:
            return None
        kind = self._chance.choice(
            (commands.CancelGeneration, commands.CancelGeneration, commands.DeleteGeneration)
        )
        return kind(owner=generation[0], generation_id=generation[1])


def private_of(command: Command) -> dict[str, Any] | None:
    """What goes to the vault with a command."""
    if isinstance(command, commands.RequestGeneration):
        return {"input": {"prompt": "a paper boat"}}
    if isinstance(command, commands.GrantCredits) and command.priority == 10:
        return {"metadata": {"order": "7"}}
    return None
