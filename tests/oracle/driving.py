"""Sends the moves of many families to a ledger, batch after batch, and collects disagreements."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from tests.fixtures.hand_worker import REFUSED, HandWorker
from tests.oracle.comparing import compare_all
from tests.oracle.families import Answer, Family
from tests.oracle.following import Follower
from tests.oracle.moves import SECOND
from tests.oracle.things import DAY, Limit, Policy
from tests.oracle.wire import BUILDERS, FAIL, Request, policy_body

FAMILIES = 100
COMMANDS_PER_FAMILY = 150
POLICY_LASTS_BATCHES = 40
TRIES = 8
COMPARED_TIMES_MAX = 3
DISAGREEMENTS_MAX = 30
EVERY_COMMAND = frozenset({*BUILDERS, "set_policy"})

POLICIES = (
    Policy(grace=7 * DAY),
    Policy(grace=0),
    Policy(grace=SECOND, promotional_first=True),
    Policy(grace=2 * SECOND, repay_debt=False, expires_after={"promo": 3 * SECOND}),
    Policy(grace=SECOND, hold_ttl=2 * SECOND),
    Policy(limits=(Limit(id="p", amount=90), Limit(id="b", amount=150, window="lifetime"))),
)


class Drive:
    """One run. `disagreements` holds the histories of the families that ended in one."""

    def __init__(
        self,
        http: httpx.Client,
        seed: int,
        *,
        worker: HandWorker | None = None,
        run: str = "",
        commands: frozenset[str] = EVERY_COMMAND,
        families: int = FAMILIES,
        only: int | None = None,
    ) -> None:
        self.http = http
        self.seed = seed
        self.worker = worker
        self.commands = commands if worker else commands - {"generate", "fail"}
        self.only = only
        self.run_name = run or f"oracle-{seed}-{time.time_ns() // 1_000_000}"
        self.luck = random.Random(seed)
        self.follower = Follower(http, self.run_name)
        self.policy = Policy()
        self.next_number = 0
        self.families = [self._family() for _ in range(1 if only is not None else families)]
        self.tally: Counter[str] = Counter()
        self.disagreements: list[Family] = []
        self.done = 0

    def run(self, commands: int, progress: Callable[[int], None] = lambda done: None) -> None:
        """Send so many commands, then compare everything that can be read."""
        batches = 0
        while self.done < commands and len(self.disagreements) < DISAGREEMENTS_MAX:
            if batches % POLICY_LASTS_BATCHES == 0 and "set_policy" in self.commands:
                self._choose_policy()
            self._step()
            batches += 1
            progress(self.done)
        for family in self.families:
            self._retire(family)

    # --- one batch ----------------------------------------------------------------------------

    def _step(self) -> None:
        asked = [(family, family.next(_now(), ops=self.commands)) for family in self.families]
        since = _now()
        told = list(self._batch([request for _, request in asked if request.op]))
        answers = iter(told)
        judged = [
            (family, self._with(next(answers), since) if request.op else self._alone(request))
            for family, request in asked
        ]
        self.follower.read()
        for family, answer in judged:
            family.judge(answer, self.follower.take(family.number))
        self.done += len(judged)
        self.families = [self._kept_or_next(family) for family in self.families]

    def _batch(self, requests: list[Request]) -> Iterator[tuple[int, dict[str, Any], bool]]:
        """Results in order; what nobody can know is asked again under its key."""
        results = self._send_batch(requests)
        for request, result in zip(requests, results, strict=True):
            tries = 1
            while result["status"] >= 500:
                assert tries < TRIES, f"{request} {result}"
                time.sleep(0.1 * tries)
                tries += 1
                self.tally[f"asked again after {result['status']}"] += 1
                result = self._send_batch([request])[0]
                # An answer to the first try is no surprise, and not what was replayed on purpose.
                result["replayed"] = result.get("replayed", False) and tries == 1
            yield result["status"], result["body"], result.get("replayed", False)

    def _send_batch(self, requests: list[Request]) -> list[dict[str, Any]]:
        if not requests:
            return []
        body = {"commands": [request.in_batch for request in requests]}
        answer = self._insist("POST", "/v1/batches", body, {})
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def _alone(self, request: Request) -> Answer:
        headers = {"Idempotency-Key": request.key} if request.method == "POST" else {}
        since = _now()
        if request.method == FAIL:
            return self._fail(request.path.rpartition("/")[2], since)
        answer = self._insist(request.method, request.path, request.body, headers)
        is_replay = answer.headers.get("Idempotent-Replayed") == "true"
        return Answer(answer.status_code, answer.json(), is_replay, since, _now())

    def _fail(self, generation_id: str, since: int) -> Answer:
        """A worker does it by hand. One that is over already has nothing left to claim."""
        assert self.worker is not None
        path = f"/v1/generations/{generation_id}/claims"
        answer = self.worker.caller.post(path, {"worker": "by hand"}, key="")
        if answer.status_code == 200 and (claims := answer.json()["claims"]):
            answer = self.worker.report(claims[0], REFUSED)
        return Answer(answer.status_code, answer.json(), False, since, _now())

    def _insist(
        self, method: str, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response:
        answer = self.http.request(method, path, json=body, headers=headers)
        for number in range(TRIES):
            if answer.status_code not in (429, 503):
                break
            self.tally[f"asked again after {answer.status_code}"] += 1
            time.sleep(0.1 * number)
            answer = self.http.request(method, path, json=body, headers=headers)
        return answer

    def _with(self, told: tuple[int, dict[str, Any], bool], since: int) -> Answer:
        status, body, is_replay = told
        return Answer(status, body, is_replay, since, _now())

    # --- families and policies ----------------------------------------------------------------

    def _family(self) -> Family:
        number = self.next_number if self.only is None else self.only
        self.next_number += 1
        return Family(self.seed, self.run_name, number, self.policy)

    def _kept_or_next(self, family: Family) -> Family:
        if family.is_ambiguous:
            self.tally["left after a sweep under a changing policy"] += 1
            return self._family()
        if not family.differences and family.asked_count < COMMANDS_PER_FAMILY:
            return family
        self._retire(family)
        return self._family()

    def _retire(self, family: Family) -> None:
        if not family.differences and not family.is_ambiguous:
            family.differences += self._compare(family)
        if family.differences and not family.is_ambiguous:
            self.disagreements.append(family)
        self.tally.update(family.tally)

    def _compare(self, family: Family) -> list[str]:
        # What starts, ends or is swept while it is read needs a second look.
        found: list[str] = []
        for _ in range(COMPARED_TIMES_MAX):
            self.follower.read()
            family.mirror(self.follower.take(family.number))
            found = compare_all(self.http, family)
            if not found:
                break
        return found

    def _choose_policy(self) -> None:
        self.policy = self.luck.choice(POLICIES)
        answer = self.http.put("/v1/policies", json=policy_body(self.policy))
        assert answer.status_code == 200, answer.text
        changed = (answer.json()["position"], _now())
        self.follower.read()
        for family in self.families:
            family.mirror(self.follower.take(family.number, before=changed[0]))
            family.world.set_policy(self.policy)
            family.policy_told = changed


def _now() -> int:
    return time.time_ns() // 1_000
