"""Reads the log for what the clockwork did by itself, so that the oracle can do it as well."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import httpx

from tests.oracle.families import Sweep, micros_of

PAGE = 1_000


class Follower:
    """Follows the log and keeps what others than we have done, by the number of its family."""

    def __init__(self, http: httpx.Client, run: str) -> None:
        self.http = http
        self.run = run
        self.asking: str | None = None
        self.after = int(self._page(0, 1)["head"])
        self.kept: dict[int, list[Sweep]] = defaultdict(list)

    def read(self) -> None:
        """Read up to the head of the log."""
        while True:
            page = self._page(self.after, PAGE)
            for event in page["items"]:
                self._sort_in(event)
            self.after = page["next_after"]
            if self.after >= page["head"]:
                return

    def take(self, number: int, before: int | None = None) -> list[Sweep]:
        """What the clockwork has booked for a family, in the order of the log, and once."""
        kept = self.kept.pop(number, [])
        taken = [sweep for sweep in kept if before is None or sweep.position < before]
        if len(taken) < len(kept):
            self.kept[number] = kept[len(taken) :]
        return taken

    def _sort_in(self, event: dict[str, Any]) -> None:
        account = event["stream"].partition("/")[2]
        if (
            not account.startswith(self.run) or "/" in account
        ):  # a generation's stream moves nothing
            return
        self.asking = self.asking or event["actor"]  # nobody else opens accounts of this run
        if event["actor"] == self.asking:
            return
        number = int(account.removeprefix(self.run).split("-")[1])
        topic, data, at = event["topic"], event["data"], micros_of(event["recorded_at"])
        command, about = "touch", None
        if topic.startswith("hold_expired"):
            command, about = "expire_hold", data["hold"]["hold_id"]
        elif topic.startswith("debit_refunded"):
            command, about = "refund", data["debit_id"]
        self.kept[number].append(Sweep(event["position"], at, account, command, about))

    def _page(self, after: int, limit: int) -> Any:
        answer = self.http.get("/v1/events", params={"after": after, "limit": limit})
        assert answer.status_code == 200, answer.text
        return answer.json()
