"""Every state that can be reached, breadth first, and what must hold of all of them together."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import msgspec

from ledger_service.domain.decide import decide
from tests.modelcheck.actors import Kind, Options, State, World
from tests.modelcheck.books import Decide, Ledger, Violation, small_limits
from tests.modelcheck.rules import judge_books, judge_decision, judge_state

GOOD_ONLY: Final = frozenset({Kind.GOOD})
WITH_DEADLINES: Final = frozenset({Kind.GOOD, Kind.DEADLINE})


class Found(Exception):
    """A rule that does not hold, and the shortest way to where it does not."""

    def __init__(self, rule: str, what: str, path: list[str]) -> None:
        steps = "\n".join(f"  {n}. {label}" for n, label in enumerate(path, 1))
        super().__init__(f"{what}\n{steps}")
        self.rule = rule
        self.path = path


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What was explored. `is_whole`: nothing was left out, so there is no more than this."""

    states: int
    transitions: int
    depth: int
    is_whole: bool
    books: int
    finals: int
    seconds: float

    def __str__(self) -> str:
        reach = "all there are" if self.is_whole else f"to depth {self.depth}"
        return (
            f"{self.states:,} states ({reach}, {self.finals:,} of them final),"
            f" {self.transitions:,} transitions, depth {self.depth},"
            f" {self.books:,} states of the ledger, {self.seconds:.1f} s"
        )


class Explorer:
    """Explores one world. Raises `Found` at the first rule that does not hold."""

    def __init__(self, options: Options, decide: Decide = decide) -> None:
        self._options = options
        self._ledger = Ledger(judge_decision, decide)
        self._world = World(self._ledger, options)
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._came_from: list[tuple[int, str]] = []
        self._depths: list[int] = []
        self._backwards: dict[Kind, list[list[int]]] = {Kind.GOOD: [], Kind.DEADLINE: []}
        self._open: deque[int] = deque()
        self._judged = 0
        self._transitions = 0

    def explore(self, depth_max: int | None = None) -> Summary:
        """Everything up to `depth_max` moves from the beginning, or everything."""
        started = time.monotonic()
        limits = self._options
        with small_limits(attempts_max=limits.attempts_max, claims_max=limits.claims_max):
            self._reach(self._world.first, -1, "")
            while self._open and (depth_max is None or self._depths[self._open[0]] < depth_max):
                self._expand(self._open.popleft(), frozenset(Kind))
            states, is_whole = len(self._states), not self._open
            depth = max(self._depths)
            self._judge_ends()
        return Summary(
            states=states,
            transitions=self._transitions,
            depth=depth,
            is_whole=is_whole,
            books=len(self._ledger.books),
            finals=sum(self._is_final(number) for number in range(states)),
            seconds=time.monotonic() - started,
        )

    def _expand(self, number: int, kinds: frozenset[Kind]) -> None:
        leads_on = False
        try:
            for label, kind, after in self._world.moves(self._states[number]):
                self._transitions += 1
                if kind in kinds:
                    reached = self._reach(after, number, label)
                    leads_on |= reached != number
                    if kind in self._backwards:
                        self._backwards[kind][reached].append(number)
        except Violation as broken:
            raise Found(broken.rule, str(broken), [*self._path(number), broken.at]) from broken
        if not leads_on and not self._is_final(number):
            raise Found("stuck", "stuck: nothing can happen any more", self._path(number))

    def _reach(self, state: State, came_from: int, label: str) -> int:
        number = self._numbers.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
            self._came_from.append((came_from, label))
            self._depths.append(self._depths[came_from] + 1 if came_from >= 0 else 0)
            for sources in self._backwards.values():
                sources.append([])
            self._open.append(number)
            self._judge(number, state)
        return number

    def _judge(self, number: int, state: State) -> None:
        try:
            while self._judged < len(self._ledger.books):
                judge_books(self._ledger.books[self._judged])
                self._judged += 1
            judge_state(self._ledger.books[state.books], state)
        except Violation as broken:
            raise Found(broken.rule, str(broken), self._path(number)) from broken

    def _judge_ends(self) -> None:
        """From every state an end can be reached if everybody does their part: with the deadline,
        and without it wherever a lost submit can be found out about."""
        wanted = [("ends by deadline", WITH_DEADLINES)]
        if self._options.listing_complete:
            wanted.append(("ends", GOOD_ONLY))
        for rule, kinds in wanted:
            endless = self._endless(kinds)
            if endless is not None:
                raise Found(rule, f"{rule}: no end can be reached", self._path(endless))

    def _endless(self, kinds: frozenset[Kind]) -> int | None:
        """A state from which no final one can be reached by moves of these kinds."""
        reached = [self._is_final(number) for number in range(len(self._states))]
        ways_out = self._play_on(kinds)
        if isinstance(ways_out, int):
            return ways_out
        for number in ways_out:
            reached[number] = True
        queue = deque(number for number, is_final in enumerate(reached) if is_final)
        while queue:
            number = queue.popleft()
            for kind in kinds:
                for source in self._backwards[kind][number]:
                    if not reached[source]:
                        reached[source] = True
                        queue.append(source)
        return None if all(reached) else reached.index(False)

    def _play_on(self, kinds: frozenset[Kind]) -> list[int] | int:
        """Those at the rim of what was explored, each of which comes to an end by moves of these
        kinds alone; or the one that does not."""
        alive: set[State] = set()
        for number in self._open:
            try:
                if not self._comes_to_an_end(self._states[number], kinds, alive):
                    return number
            except Violation as broken:
                raise Found(broken.rule, str(broken), [*self._path(number), broken.at]) from broken
        return list(self._open)

    def _comes_to_an_end(self, start: State, kinds: frozenset[Kind], alive: set[State]) -> bool:
        """Whether an end, or a state that is known to lead to one, can be reached; depth first.
        The states on the way there are `alive` from then on."""
        came_from: dict[State, State] = {}
        stack = [start]
        while stack:
            state = stack.pop()
            if state in alive or self._ledger.books[state.books].is_final:
                while state != start:
                    alive.add(state)
                    state = came_from[state]
                alive.add(start)
                return True
            for _, kind, after in self._world.moves(state):
                if kind in kinds and after not in came_from:
                    came_from[after] = state
                    stack.append(after)
        return False

    def _is_final(self, number: int) -> bool:
        return self._ledger.books[self._states[number].books].is_final

    def _path(self, number: int) -> list[str]:
        labels = []
        while number > 0:
            number, label = self._came_from[number]
            labels.append(label)
        return labels[::-1]
