"""Prepaid balances, one for each key: a spent one locks the key out of submitting."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from deploy.emulators.fal.database import Facts, transaction
from deploy.emulators.fal.prices import MICROS_PER_USD

BALANCE_MAX_USD: Final = 1e9
_FACT: Final = "prepaid_micros"


class Accounts:
    """Every key has prepaid the same amount; what it has spent of that is its own."""

    def __init__(self, connection: sqlite3.Connection, facts: Facts, balance_usd: float) -> None:
        self._db = connection
        self._facts = facts
        self._initial_usd = balance_usd
        if facts.number(_FACT) is None:
            self._prepay(balance_usd)

    def balance_usd(self, owner: str) -> float:
        """What a key has left; below zero when its last jobs cost more than there was."""
        return (self.prepaid_micros() - self._spent_micros(owner)) / MICROS_PER_USD

    def is_locked(self, owner: str) -> bool:
        """Whether nothing is left."""
        return self.balance_usd(owner) <= 0

    def charge(self, owner: str, micros: int) -> None:
        """Take the price of a job; part of the transaction in which it completes."""
        self._db.execute(
            "INSERT INTO accounts VALUES (?, ?) ON CONFLICT (owner)"
            " DO UPDATE SET spent_micros = spent_micros + excluded.spent_micros",
            (owner, micros),
        )

    def refill(self, balance_usd: float) -> None:
        """Give every key this balance, whatever it has spent."""
        with transaction(self._db):
            self._db.execute("DELETE FROM accounts")
            self._prepay(balance_usd)

    def reset(self) -> None:
        """Begin again with the balance the emulator was started with."""
        self.refill(self._initial_usd)

    def summary(self) -> list[dict[str, Any]]:
        """Every key that has spent something, for the admin page."""
        rows = self._db.execute("SELECT owner, spent_micros FROM accounts ORDER BY owner")
        return [
            {
                "owner": row["owner"],
                "spent_usd": row["spent_micros"] / MICROS_PER_USD,
                "balance_usd": self.balance_usd(row["owner"]),
                "locked": self.is_locked(row["owner"]),
            }
            for row in rows
        ]

    def prepaid_micros(self) -> int:
        """What every key has paid in advance, in millionths of a US dollar."""
        return int(self._facts.number(_FACT) or 0)

    def _prepay(self, balance_usd: float) -> None:
        self._facts.put(_FACT, round(balance_usd * MICROS_PER_USD))

    def _spent_micros(self, owner: str) -> int:
        query = "SELECT spent_micros FROM accounts WHERE owner = ?"
        row = self._db.execute(query, (owner,)).fetchone()
        return 0 if row is None else int(row[0])
