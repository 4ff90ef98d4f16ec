"""Both forms of the reference, ready to be sent."""

from __future__ import annotations

import msgspec


class Reference(msgspec.Struct, frozen=True):
    """`document`: the OpenAPI document as JSON; `page`: the same as HTML."""

    document: bytes
    page: bytes
