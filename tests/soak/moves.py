"""What the customers of a soak do: drawn from a seed, before anything runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tests.fixtures.naive_prices import IMAGE_URL

Kind = Literal["order", "cancel", "delete"]

QUOTED_SHARE: Final = 0.3
CANCELLED_SHARE: Final = 0.12
DELETED_SHARE: Final = 0.08
RECENT: Final = 5
"""A cancel or a deletion is about one of so many last orders: most of them are still under way."""

_MODELS: Final[tuple[tuple[int, str, Mapping[str, tuple[Any, ...]]], ...]] = (
    (6, "veo-3.1-lite", {"duration": ("4s", "6s", "8s"), "generate_audio": (True, False)}),
    (4, "flux-schnell", {"num_images": (1, 2, 3, 4), "image_size": ("square", "square_hd")}),
    (2, "nano-banana-2", {"num_images": (1, 2), "resolution": ("1K", "2K")}),
    (1, "wan-2.5-image-to-video", {"image_url": (IMAGE_URL,), "duration": ("5", "10")}),
    (1, "kling-3-standard", {"duration": ("3", "5", "15")}),
)
"""How often each is ordered, and what may be chosen of its inputs."""
_PROMPTS: Final = (
    *(16 * ["a paper boat in the rain"]),  # the provider's chaos decides what becomes of these
    *(3 * ["a slow boat [[fal:slow=2]]"]),
    "a boat on a reef [[fal:stuck]]",
    "a boat that must wait [[fal:stuck-in-queue]]",
    "a boat that can be stopped [[fal:slow=4]][[fal:cooperative]]",
    "a sunken boat [[fal:fail]]",
)


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a customer does, and the pause after it.

    `number` counts the orders from 0; for a cancel and a deletion it is that of the order meant.
    """

    kind: Kind
    number: int
    pause_seconds: float
    model: str = ""
    content: dict[str, Any] = {}
    is_quoted: bool = False


def moves_of(seed: int, customer: int, orders: int, pause_seconds: float) -> list[Move]:
    """All moves of one customer; `pause_seconds` is the mean between two of them."""
    draw = random.Random(f"{seed}:{customer}")
    shares: dict[Kind, float] = {"cancel": CANCELLED_SHARE, "delete": DELETED_SHARE}
    moves = []
    for number in range(orders):
        moves.append(_order(draw, number, pause_seconds))
        for kind, share in shares.items():
            if draw.random() < share:
                meant = draw.randint(max(0, number - RECENT + 1), number)
                pause = 2 * pause_seconds * draw.random()
                moves.append(Move(kind=kind, number=meant, pause_seconds=pause))
    return moves


def _order(draw: random.Random, number: int, pause_seconds: float) -> Move:
    weights = [weight for weight, _, _ in _MODELS]
    ((_, model, inputs),) = draw.choices(_MODELS, weights)
    content = {name: draw.choice(values) for name, values in inputs.items()}
    return Move(
        kind="order",
        number=number,
        pause_seconds=2 * pause_seconds * draw.random(),
        model=model,
        content=content | {"prompt": draw.choice(_PROMPTS)},
        is_quoted=draw.random() < QUOTED_SHARE,
    )
