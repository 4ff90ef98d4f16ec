"""What became of a command, by its idempotency key."""

from __future__ import annotations

from datetime import datetime

from contracts.api.accounts import Account
from contracts.api.common import Reply


class CommandOutcome(Reply, frozen=True, kw_only=True):
    """The first answer to the command, of which this is what all of them have; or `voided`:
    nothing was done under the key, and nothing ever will be."""

    position: int | None
    recorded_at: datetime
    account: Account
    voided: bool = False
