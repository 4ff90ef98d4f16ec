"""What every test may ask for, and how many examples a property is tried with."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.services",
    "tests.fixtures.live",
    "tests.fixtures.stack",
    "tests.fixtures.customer",
    "tests.fixtures.hand_worker",
    "tests.fixtures.signing_provider",
    "tests.fixtures.bucket",
]

# Deadlines per example would judge the machine, not the code.
_SLOW_MACHINE = [HealthCheck.too_slow]
settings.register_profile(
    "quick", max_examples=15, deadline=None, suppress_health_check=_SLOW_MACHINE
)
settings.register_profile(
    "default", max_examples=30, deadline=None, suppress_health_check=_SLOW_MACHINE
)
settings.register_profile(
    "thorough", max_examples=2_000, deadline=None, suppress_health_check=_SLOW_MACHINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
