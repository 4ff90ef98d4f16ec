"""Chaos from a seed: one misbehaviour for each submit, the same in every run of the same order."""

from __future__ import annotations

import random
import re
from functools import cache

import msgspec

from deploy.emulators.fal import directives


class Chaos(msgspec.Struct, frozen=True, kw_only=True):
    """A seed, and the share of submits (0 to 1) that meet a misbehaviour."""

    seed: int
    rate: float = 1.0

    def pick(self, number: int) -> str:
        """The directive for the submit with this number, as one writes it; empty for none.

        It depends on seed and number alone, so neither a restart nor a race elsewhere changes it.
        """
        draw = random.Random(f"{self.seed}:{number}")
        if draw.random() >= self.rate:
            return ""
        return draw.choice(draw.choice(modes()))


@cache
def modes() -> tuple[tuple[str, ...], ...]:
    """All misbehaviours, each with the ways to write it: all modes are equally likely."""
    return tuple(directives.written(name) for name in directives.KNOWN)


def parse(text: str) -> Chaos:
    """Read ``SEED`` or ``SEED:RATE``; raises `ValueError`."""
    if not re.fullmatch(r"[0-9]{1,18}(:(0(\.[0-9]{1,9})?|1(\.0{1,9})?))?", text):
        raise ValueError(f"not SEED or SEED:RATE with a rate from 0 to 1: {text}")
    seed, _, rate = text.partition(":")
    return Chaos(seed=int(seed), rate=float(rate or 1))
