"""A family: a few accounts that only ever deal with each other, and the oracle's view of them.

Each batch holds at most one command of a family, so that its order never matters, and a family's
own history is all that is needed to show a disagreement again.
"""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.oracle.ground import Outcome
from tests.oracle.model import World
from tests.oracle.moves import SECOND, Move, Mover
from tests.oracle.nouns import noun_differences, refusal_differences
from tests.oracle.periods import EPOCH, micros
from tests.oracle.things import Policy, Refused
from tests.oracle.wire import Ids, Request, Unknown, request_of

ACCOUNTS = 4
REPLAYS_OF_ALL = 0.05


@dataclass(frozen=True)
class Answer:
    """What the service said, and the instants between which it was asked."""

    status: int
    body: dict[str, Any]
    is_replay: bool
    since: int
    until: int

    @property
    def is_accepted(self) -> bool:
        """Whether it took effect."""
        return self.status < 300


@dataclass(frozen=True)
class Sweep:
    """Something that the clockwork booked by itself, as the log tells it."""

    position: int
    at: int
    account: str
    command: str
    about: str | None


class Family:
    """Asks for the next move, and judges the answer. `differences` is empty while all agree."""

    def __init__(self, seed: int, run: str, number: int, policy: Policy) -> None:
        self.number = number
        self.names = [f"{run}-{number}-{letter}" for letter in "abcd"[:ACCOUNTS]]
        self.world = World(policy=policy)
        self.mover = Mover(f"{seed}/{number}", self.world, self.names)
        self.luck = random.Random(f"{seed}/{number}/luck")
        self.ids = Ids()
        self.history: list[str] = []
        self.differences: list[str] = []
        self.accepted: list[tuple[Request, Answer]] = []
        self.asked: Request | None = None
        self.move: Move | None = None
        self.keys = 0
        self.asked_count = 0
        self.started = time.time_ns() // 1_000
        self.tally: dict[str, int] = {}
        self.policy_told = (0, 0)  # the position of its newest change, and when we knew of it
        self.is_ambiguous = False

    # --- asking -------------------------------------------------------------------------------

    def next(self, now: int, *, ops: frozenset[str]) -> Request:
        """The next request; `ops` are the commands that may be asked."""
        self.asked_count += 1
        if self.accepted and self.luck.random() < REPLAYS_OF_ALL:
            self.move = None
            self.asked = self.luck.choice(self.accepted)[0]
            return self.asked
        while True:
            move = self.mover.next(now)
            if move.command not in ops:
                continue
            self.keys += 1
            try:
                self.asked = request_of(move, self.ids, f"{self.names[0]}/{self.keys}")
            except Unknown:
                continue
            self.move = move
            return self.asked

    # --- judging ------------------------------------------------------------------------------

    def judge(self, answer: Answer, sweeps: list[Sweep]) -> None:
        """Do the same in the oracle and compare; what the clockwork did goes where it belongs."""
        assert self.asked is not None
        try:
            if self.move is None:
                self._judge_replay(answer)
                self.mirror(sweeps)
            elif self.move.command == "fail":
                self.mirror(sweeps)
                self._judge_failed(self.move, answer)
            elif answer.is_accepted:
                place = answer.body.get("position") or 0
                self.mirror([sweep for sweep in sweeps if sweep.position < place])
                self._judge_accepted(self.move, self.asked, answer)
                self.mirror([sweep for sweep in sweeps if sweep.position > place])
            else:
                before = self._refusal(self.move, answer)
                self.mirror(sweeps)
                after = self._refusal(self.move, answer) if sweeps and before else before
                self._tell(answer, before if after else [])
        except (AssertionError, Refused):
            self.differences.append("the oracle itself: " + traceback.format_exc(limit=-3))

    def _judge_replay(self, answer: Answer) -> None:
        first = next(told for asked, told in self.accepted if asked is self.asked)
        self._count("replay")
        same = (answer.status, answer.body) == (first.status, first.body)
        if not (same and answer.is_replay):
            self._note("replay", answer, ["a replay is not the first answer"])

    def _judge_accepted(self, move: Move, asked: Request, answer: Answer) -> None:
        at = micros_of(answer.body["recorded_at"])
        self._count(move.command)
        try:
            outcome = self.world.do(move.command, at, **move.fields)
        except Refused as refused:
            self._note(move.command, answer, [f"the oracle refuses: {refused}"])
            return
        found = [] if answer.since <= at <= answer.until else [f"recorded outside: {at}"]
        found += self._account_differences(move, outcome, answer.body.get("account"))
        found += noun_differences(move, outcome.noun, answer.body, self.ids, self.world)
        self._note(move.command, answer, found)
        if asked.method == "POST":
            self.accepted = [*self.accepted[-20:], (asked, answer)]

    def _judge_failed(self, move: Move, answer: Answer) -> None:
        self._count("fail" if answer.is_accepted else f"refused {answer.body.get('code')}")
        debits = self.world.accounts[move.account].debits
        debit = next(one for one in debits if one.id == move.fields["debit"])
        charged = debit.amount - debit.refunded
        self._note("fail", answer, [f"{charged} stay charged"] if charged else [])

    def _account_differences(self, move: Move, outcome: Outcome, told: Any) -> list[str]:
        if told is None:
            return []
        account = self.world.accounts[move.account]
        expected = {
            "balance": outcome.balances[account.id],
            "status": account.status,
            "merged_into": account.merged_into,
        }
        shown = {name: told[name] for name in expected}
        return [] if shown == expected else [f"account: {shown}, the oracle says {expected}"]

    def _refusal(self, move: Move, answer: Answer) -> list[str]:
        found: list[str] = []
        for now in (answer.since, answer.until):
            would = self.world.would(move.command, now, **move.fields)
            found = refusal_differences(would, answer.status, answer.body, self.ids)
            if not found:
                return []
        return found

    def _tell(self, answer: Answer, found: list[str]) -> None:
        assert self.move is not None
        self._count(f"refused {answer.body.get('code')}")
        self._note(self.move.command, answer, found)

    def mirror(self, sweeps: list[Sweep]) -> None:
        """Do what the clockwork did by itself.

        What was under way while the policy changed may have gone by the policy before it, though
        it stands behind the change in the log: then nobody can tell what is right.
        """
        for sweep in sweeps:
            at = sweep.at
            position, told_at = self.policy_told
            self.is_ambiguous |= sweep.position > position and at <= told_at
            about = self.ids.ours.get(sweep.about or "", "")
            if sweep.command == "expire_hold":
                self.world.do("expire_hold", at, account=sweep.account, hold=about)
            elif sweep.command == "refund":
                self.world.do("refund", at, account=sweep.account, debit=about)
            else:
                self.world.do("touch", at, account=sweep.account)
            self._count("sweep")
            self.history.append(f"{(at - self.started) / SECOND:9.4f} {sweep}")

    # --- telling ------------------------------------------------------------------------------

    def _count(self, what: str) -> None:
        self.tally[what] = self.tally.get(what, 0) + 1

    def _note(self, what: str, answer: Answer, found: list[str]) -> None:
        at = answer.since
        if answer.is_accepted and "recorded_at" in answer.body:
            at = micros_of(answer.body["recorded_at"])
        code = answer.body.get("code", "")
        asked = self.move or (self.asked and self.asked.path)
        line = f"{(at - self.started) / SECOND:9.4f} {asked} → {answer.status} {code}"
        self.history.append(line)
        self.differences += [f"{what}: {one}" for one in found]


def micros_of(told: str) -> int:
    """An instant of the API in microseconds."""
    at = micros(datetime.fromisoformat(told))
    assert at >= micros(EPOCH)
    return at
