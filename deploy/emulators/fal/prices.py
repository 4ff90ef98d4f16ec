"""What a job costs. The figures are made up, and stay so: fal's own move all the time."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from deploy.emulators.fal import models

MICROS_PER_USD: Final = 1_000_000


class UnitPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one unit, in millionths of a US dollar."""

    micros: int
    unit: str

    def description(self, endpoint: str) -> dict[str, Any]:
        """The price as the platform API states it."""
        return {
            "endpoint_id": endpoint,
            "unit_price": self.micros / MICROS_PER_USD,
            "unit": self.unit,
            "currency": "USD",
        }


_VIDEO: Final = UnitPrice(micros=100_000, unit="seconds")
_IMAGE: Final = UnitPrice(micros=25_000, unit="images")


def price_of(endpoint: str) -> UnitPrice:
    """The unit price of an endpoint, by the kind of its output."""
    return _IMAGE if models.model_of(endpoint).output == "image" else _VIDEO
