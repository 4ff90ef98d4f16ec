"""Everything a step can end with, besides its report.

    WorkerError
    ├── ProviderRejected      a verdict: this attempt is over, asking again gives the same answer
    │   ├── ProviderCancelled     … because we asked for it
    │   └── ProviderRefusesUs     … to our key or account, whatever the job
    ├── ProviderUnavailable   no verdict: refused connection, silence, an unreadable answer
    ├── SideUnreadable        a comparison lacks one of its sides
    └── BadSettings           the environment does not describe a worker

The ledger's two, `LedgerRejected` and `LedgerUnavailable`, come from `contracts.client`. Each error
carries data; `steps` turn them into reports. None carries a prompt, a key or a URL.
"""

from __future__ import annotations


class WorkerError(Exception):
    """Base of the worker's own errors."""


class ProviderRejected(WorkerError):
    """The provider's no. `sent` false: it certainly never accepted the job.

    `retryable` and `retry_after_seconds` say whether, and how soon, a new attempt may fare better;
    `message` may be shown to the customer.
    """

    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        sent: bool = True,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
        billable_units: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message
        self.sent = sent
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.billable_units = billable_units


class ProviderCancelled(ProviderRejected):
    """The provider ended the job because it was cancelled."""


class ProviderRefusesUs(ProviderRejected):
    """The provider takes nothing of us until a person mends it: a bad key, an empty account.

    It says nothing about the job, which may be submitted later.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False, retryable=True)


class ProviderUnavailable(WorkerError):
    """No verdict. `not_sent` is true when not one byte of the request left this machine.

    `if_it_stays` is the verdict that it amounts to when nothing else comes for long, if any.
    """

    def __init__(
        self, reason: str, *, not_sent: bool = False, if_it_stays: ProviderRejected | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.not_sent = not_sent
        self.if_it_stays = if_it_stays


class SideUnreadable(WorkerError):
    """A side of a comparison (`ledger`, `provider` or `storage`) that could not be read."""

    def __init__(self, side: str, reason: str) -> None:
        super().__init__(f"the {side} could not be read: {reason}")
        self.side = side
        self.reason = reason


class BadSettings(WorkerError):
    """Environment variables that are missing or make no sense; `faults` has a line for each."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
