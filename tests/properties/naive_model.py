"""A second account, written from the law alone: plain dicts and integers, nothing shared.

Times are seconds. It keeps no events and never parks; it only answers what a balance is and
which lots a spend takes.
"""

from __future__ import annotations

from typing import Any

FOREVER = 10**18


class NaiveAccount:
    """Lots as dicts in the order of their making; debt is what was spent beyond them."""

    def __init__(self, *, grace: int, repays_debt: bool, limit: int = 0) -> None:
        self.lots: list[dict[str, Any]] = []
        self.debits: list[dict[str, Any]] = []
        self.debt = 0
        self.limit = limit
        self._grace = grace
        self._repays_debt = repays_debt

    def posted(self) -> int:
        """All that is unspent, less debt."""
        return int(sum(lot["left"] for lot in self.lots)) - self.debt

    def available(self, now: int) -> int:
        """What could be spent if every lot fitted."""
        alive = [lot["left"] for lot in self.lots if lot["since"] <= now < lot["until"]]
        return int(sum(alive)) - self.debt + self.limit

    def spendable(self, tags: set[str], now: int) -> int:
        """What a spend that these tags describe may take."""
        return int(sum(lot["left"] for lot in self._fitting(tags, now))) - self.debt + self.limit

    def grant(self, amount: int, now: int, **terms: Any) -> None:
        """A lot, less the debt that it repays."""
        self.expire(now)
        repaid = min(amount, self.debt) if self._repays_debt else 0
        self.debt -= repaid
        self._add(amount - repaid, {"since": now, **terms})

    def spend(self, amount: int, tags: set[str], now: int) -> list[tuple[int, int]] | None:
        """The (lot's place, amount) pairs taken; None when it is refused."""
        if self.spendable(tags, now) < amount:
            return None
        self.expire(now)
        fitting = self._fitting(tags, now)
        fitting.sort(
            key=lambda lot: (
                lot["priority"],
                lot["until"],
                lot["bought"],
                lot["cost"],
                lot["place"],
            )
        )
        taken, wanted = [], amount
        for lot in fitting:
            part = min(lot["left"], wanted)
            if part:
                lot["left"] -= part
                taken.append((lot["place"], part))
                wanted -= part
        self.debt += wanted
        self.debits.append({"taken": list(taken), "on_credit": wanted, "left": amount})
        return taken

    def refund(self, number: int, amount: int, now: int) -> bool:
        """Undo the last `amount` credits of a debit; False when less than that is left of it."""
        debit = self.debits[number]
        if amount > debit["left"]:
            return False
        self.expire(now)
        debit["left"] -= amount
        from_credit = min(amount, debit["on_credit"])
        debit["on_credit"] -= from_credit
        amount -= from_credit
        while amount:
            place, part = debit["taken"].pop()
            back = min(part, amount)
            amount -= back
            if part > back:
                debit["taken"].append((place, part - back))
            self._give_back(self.lots[place], back, now)
        cancelled = min(from_credit, self.debt)
        self.debt -= cancelled
        if from_credit > cancelled:
            self._add(from_credit - cancelled, {"since": now})
        return True

    def expire(self, now: int) -> None:
        """What is over its time is gone."""
        for lot in self.lots:
            if lot["until"] <= now:
                lot["left"] = 0

    def _fitting(self, tags: set[str], now: int) -> list[dict[str, Any]]:
        return [
            lot
            for lot in self.lots
            if lot["since"] <= now < lot["until"] and (not lot["only"] or lot["only"] & tags)
        ]

    def _give_back(self, lot: dict[str, Any], amount: int, now: int) -> None:
        if lot["until"] > now:
            lot["left"] += amount
        elif self._grace:
            self._add(amount, {**lot, "since": now, "until": now + self._grace})

    def _add(self, amount: int, terms: dict[str, Any]) -> None:
        usual = {"until": FOREVER, "priority": 50, "bought": False, "cost": 0, "only": set()}
        self.lots.append({**usual, **terms, "left": amount, "place": len(self.lots)})
