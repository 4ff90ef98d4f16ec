"""Quotes: a price that is promised for a while, in an id that proves itself.

Nothing is stored. The id carries the price line, its end, and what it is for; the signature makes
it ours. Tenant and input are in it as keyed digests, so that an id, which the log keeps for ever,
tells nobody what was asked for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from contracts.api.prices import PriceLine, Quote
from contracts.limits import QUOTE_ID_MAX_CHARACTERS
from contracts.problems import FieldError, ProblemCode
from ledger_service.domain.ids import EPOCH, milliseconds_of
from ledger_service.errors import Rejected
from ledger_service.signing import Signer

PURPOSE: Final = "quote"
_TENANT, _INPUT = "quote-tenant", "quote-input"
_PREFIX: Final = "qte_"
_DIGEST_CHARACTERS: Final = 32
_SIGNATURE_CHARACTERS: Final = 64
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


class Promise(msgspec.Struct, frozen=True, array_like=True):
    """What a quote's id says. Ids are kept for ever; whoever changes this changes the purpose."""

    ends_at_millis: int
    tenant_digest: str
    model: str
    input_digest: str
    line: PriceLine

    @property
    def ends_at(self) -> datetime:
        """When the price holds no longer."""
        return EPOCH + timedelta(milliseconds=self.ends_at_millis)


_DECODER: Final = msgspec.msgpack.Decoder(Promise)


class Quotes:
    """Makes quotes and reads them again."""

    def __init__(self, signer: Signer, life: timedelta) -> None:
        self._signer = signer
        self._life = life

    def make(
        self, tenant: str, model: str, content: dict[str, Any], line: PriceLine, now: datetime
    ) -> Quote:
        """A quote for this very input, from `now` on."""
        promise = Promise(
            ends_at_millis=milliseconds_of(now + self._life),
            tenant_digest=self._digest(_TENANT, tenant),
            model=model,
            input_digest=self._digest_of(content),
            line=line,
        )
        body = base64.urlsafe_b64encode(msgspec.msgpack.encode(promise)).decode().rstrip("=")
        return Quote(
            quote_id=f"{_PREFIX}{body}{self._signer.sign(PURPOSE, body)}",
            model=model,
            price=line.total,
            expires_at=promise.ends_at,
            lines=(line,),
        )

    def read(self, quote_id: str, tenant: str, model: str, content: dict[str, Any]) -> Promise:
        """What was promised, over by now or not. Raises `Rejected` (`quote_not_found`) for what is
        no quote of this tenant, or one for something else: then it says for what."""
        promise = self._genuine(quote_id)
        if promise is None or promise.tenant_digest != self._digest(_TENANT, tenant):
            raise Rejected(ProblemCode.QUOTE_NOT_FOUND)
        if faults := tuple(self._differences(promise, model, content)):
            raise Rejected(ProblemCode.QUOTE_NOT_FOUND, errors=faults)
        return promise

    def _differences(
        self, promise: Promise, model: str, content: dict[str, Any]
    ) -> Iterator[FieldError]:
        if promise.model != model:
            yield FieldError("/model", "the quote is for another model")
        if promise.input_digest != self._digest_of(content):
            yield FieldError("/input", "the quote is for another input")

    def _genuine(self, quote_id: str) -> Promise | None:
        body = quote_id[len(_PREFIX) : -_SIGNATURE_CHARACTERS]
        signature = quote_id[-_SIGNATURE_CHARACTERS:]
        if not quote_id.startswith(_PREFIX) or len(quote_id) > QUOTE_ID_MAX_CHARACTERS or not body:
            return None
        if not quote_id.isascii():
            return None
        if not self._signer.is_genuine(signature, PURPOSE, body):
            return None
        try:
            return _DECODER.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            return None  # made by other code under the same secret

    def _digest_of(self, content: dict[str, Any]) -> str:
        return self._digest(_INPUT, _CANONICAL.encode(content).decode())

    def _digest(self, purpose: str, text: str) -> str:
        return self._signer.sign(purpose, text)[:_DIGEST_CHARACTERS]
