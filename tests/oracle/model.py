"""A second, naive ledger: commands and instants in, balances or refusals out.

Written from the law alone (decision 9). It keeps no events, parks nothing and is in no hurry; after
every command it checks all equations on all accounts that were touched. It knows no transport, so
it can judge the service over HTTP as well as the pure core in memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from tests.oracle import clawing, moving, spending, standing
from tests.oracle.equations import check_account, check_transfers
from tests.oracle.ground import Ground, Outcome, is_due
from tests.oracle.things import Policy, Refused

COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "open": standing.open_account,
    "change_limit": standing.change_limit,
    "grant": spending.grant,
    "debit": spending.debit,
    "hold": spending.hold,
    "capture": spending.capture,
    "release": spending.release,
    "expire_hold": spending.expire_hold,
    "extend": spending.extend,
    "refund": spending.refund,
    "generate": spending.debit,
    "fail": standing.report,
    "clawback": clawing.clawback,
    "void": clawing.void,
    "write_off": clawing.write_off,
    "adjust": standing.adjust,
    "transfer": moving.transfer,
    "set_status": standing.set_status,
    "set_schedules": standing.set_schedules,
    "set_limits": standing.set_limits,
    "set_thresholds": standing.set_thresholds,
    "touch": standing.touch,
}


class World(Ground):
    """One tenant's ledger. Time is a parameter of every command; no account sees it go back."""

    def do(self, command: str, now: int, **fields: Any) -> Outcome:
        """Carry out a command at `now`. Raises Refused, and then nothing has changed."""
        self.now, self.touched = now, set()
        # Only settling changes anything before a refusal, so most commands need no way back.
        due = any(is_due(self, account) for account in self.accounts.values())
        before = pickle.dumps(self.accounts) if due else b""
        opened = set(self.accounts)
        try:
            noun = COMMANDS[command](self, **fields)
        except Refused:
            if due:
                self.accounts = pickle.loads(before)
            assert set(self.accounts) == opened
            raise
        self.pass_on()
        self._check()
        balances = {name: self.accounts[name].balance(now) for name in self.touched}
        return Outcome(noun, balances)

    def would(self, command: str, now: int, **fields: Any) -> Outcome | Refused:
        """What a command would come to, without doing it."""
        copy = pickle.loads(pickle.dumps(self))
        now = max([now, *(account.seen_at for account in self.accounts.values())])
        try:
            outcome: Outcome = copy.do(command, now, **fields)
        except Refused as refused:
            return refused
        return outcome

    def set_policy(self, policy: Policy) -> None:
        """The tenant chooses anew; what was booked stays."""
        self.policy = policy

    def _check(self) -> None:
        for name in self.touched:
            check_account(self.accounts[name], self.now)
        check_transfers(self.accounts.values())
