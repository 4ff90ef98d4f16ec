"""Customers who carry their moves out, over any outage, and never twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx

from tests.fixtures.live import Caller, expect
from tests.fixtures.stack import Stack
from tests.soak.moves import Move

PATIENCE_SECONDS: Final = 120.0
PAUSE_SECONDS: Final = 0.1
_COME_AGAIN: Final = frozenset({429, 503})


class Shopper:
    """One account and its owner. `ordered` holds the generation of each order that was taken.

    Each move has a key of its own and is repeated under it until it is answered.
    """

    def __init__(self, stack: Stack, account_id: str, moves: Sequence[Move], granted: int) -> None:
        self.account_id = account_id
        self.granted = granted
        self.ordered: dict[int, str] = {}
        self.answers: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._moves = moves
        self._caller = Caller(stack.env["LEDGER_URL"], stack.env["LEDGER_API_KEY"])
        self._thread = threading.Thread(target=self._run, name=account_id, daemon=True)
        self._caller.grant(account_id, granted)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Every move has been made, or something went wrong."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Wait for the last move, and raise what went wrong."""
        self._thread.join(2 * PATIENCE_SECONDS)
        self._caller.http.close()
        if self.failure is not None:
            raise self.failure

    def balance(self) -> Any:
        """What the ledger says that the account has."""
        return self._caller.balance(self.account_id)

    def _run(self) -> None:
        try:
            for move in self._moves:
                self._make(move)
                time.sleep(move.pause_seconds)
        except BaseException as failure:
            self.failure = failure

    def _make(self, move: Move) -> None:
        if move.kind == "order":
            self._order(move)
        elif (generation_id := self.ordered.get(move.number)) is not None:
            path = f"/v1/generations/{generation_id}"
            if move.kind == "cancel":
                key = f"{self.account_id}-cancel-{move.number}"
                answer = self._insist(lambda: self._caller.post(f"{path}/cancel", {}, key=key))
                # It may have ended, or its owner may have deleted it before.
                assert answer.status_code in {202, 404, 409}, answer.text
            else:
                answer = self._insist(lambda: self._caller.http.delete(path))
                expect(200, answer)
            self.answers[f"{move.kind} {answer.status_code}"] += 1

    def _order(self, move: Move) -> None:
        body = {"account_id": self.account_id, "model": move.model, "input": move.content}
        if move.is_quoted:
            asked = {"model": move.model, "input": move.content}
            quote = self._insist(lambda: self._caller.post("/v1/quotes", asked, key=""))
            body["quote_id"] = expect(200, quote)["quote_id"]
        key = f"{self.account_id}-order-{move.number}"
        answer = self._insist(lambda: self._caller.post("/v1/generations", body, key=key))
        self.answers[f"order {answer.status_code}"] += 1
        if answer.status_code == 402:
            assert answer.json()["available"] < answer.json()["required"], answer.text
            return
        self.ordered[move.number] = expect(202, answer)["generation"]["generation_id"]

    def _insist(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The first answer that is one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = send()
            except httpx.TransportError:
                pass
            else:
                if answer.status_code not in _COME_AGAIN:
                    return answer
            assert time.monotonic() < deadline, f"{self.account_id} gets no answer"
            self.answers["unanswered"] += 1
            time.sleep(PAUSE_SECONDS)
