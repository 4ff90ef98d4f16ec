"""What may be spent, and what has been: every submit is paid for here before it is sent."""

from __future__ import annotations


class CapReached(Exception):
    """The next submit could cost more than is left."""


class Budget:
    """Dollars that may be spent. Each job is booked at the full price of a success, failures and
    cancels too: what fal bills for those is one of the questions."""

    def __init__(self, max_usd: float, usd_per_job: float) -> None:
        self.max_usd = max_usd
        self.usd_per_job = usd_per_job
        self.jobs = 0

    @property
    def spent_usd(self) -> float:
        """At most so much."""
        return self.jobs * self.usd_per_job

    def learn_price(self, usd_per_job: float) -> None:
        """Book at this price from now on, unless what was assumed is dearer."""
        self.usd_per_job = max(self.usd_per_job, usd_per_job)

    def pay(self) -> None:
        """Book one more job; raises `CapReached` instead of going over the cap."""
        if (self.jobs + 1) * self.usd_per_job > self.max_usd:
            raise CapReached(f"the cap of {self.max_usd:.2f} USD would be passed")
        self.jobs += 1
