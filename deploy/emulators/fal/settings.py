"""What the command line decides, in one frozen value."""

from __future__ import annotations

from pathlib import Path

import msgspec

from deploy.emulators.fal.assumptions import Assumptions
from deploy.emulators.fal.chaos import Chaos
from deploy.emulators.fal.inputs import Fetching


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How this emulator behaves; every default is fal's own, scaled to a laptop's patience."""

    state_dir: Path
    """Holds ``jobs.sqlite`` and ``webhook.key``; deleting it makes a new provider."""
    keys: tuple[str, ...] = ()
    """API keys that are accepted; empty means any key that is not empty."""
    admin_keys: tuple[str, ...] = ()
    """Keys for billing, usage and deletions; empty means that every accepted key is one."""
    concurrency: int = 2
    """Jobs in progress at once for one key; the others wait in the queue."""
    job_seconds: float = 1.0
    """How long an ordinary job runs; 0 completes it within its submit."""
    result_seconds: float = 3600.0
    """How long status and result stay readable after completion; a tenth of it from 10 KB on."""
    stored_seconds: float = 0.0
    """How long they stay readable where payloads are stored; fal: 30 days. 0 is harshest."""
    balance_usd: float = 1_000_000.0
    """What each key has prepaid; once it is spent, submits are answered with a 403."""
    render: bool = False
    """Draw every film and picture in the size that was asked for; needs PyAV."""
    virtual_clock: bool = False
    """Time stands still until ``POST /admin/clock`` moves it."""
    chaos: Chaos | None = None
    """Misbehaviour drawn for each submit that asks for none itself."""
    assumptions: Assumptions = Assumptions()
    """What this provider does where fal's documentation is silent."""
    fetch_inputs: Fetching = "local"
    """Which of the files are looked at that inputs name."""
    allow_loopback_webhooks: bool = False
    """fal never delivers to loopback addresses; a one-machine run must."""
    webhook_backoff_seconds: float = 1.0
    """Pause before the second delivery; doubles after each further failure."""
