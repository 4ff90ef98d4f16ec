"""The yardstick for HTTP: Litestar as one would write it, with nothing behind it.

The same path, key check, body and reply as a spend and as a balance read.
"""

import hashlib
import hmac
import os
from datetime import UTC, datetime
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.exceptions import NotAuthorizedException

from contracts.api.accounts import Account, AccountStatus, Balance
from contracts.api.common import LotAmount
from contracts.api.debits import Debit, DebitReply, DebitRequest

_KEYS = {os.environ["NOOP_KEY"].split("_")[1]: hashlib.sha256(os.environ["NOOP_KEY"].encode())}
_AT = datetime.now(UTC)
_ACCOUNT = Account(
    account_id="bench-0",
    unit="credit",
    status=AccountStatus.ACTIVE,
    version=12345,
    position=123456,
    balance=Balance(
        posted=999999999,
        held=0,
        available=999999999,
        debt=0,
        credit_limit=0,
        pending_expiry=0,
    ),
    merged_into=None,
    opened_at=_AT,
)


def _check(request: Request[Any, Any, Any]) -> None:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    known = _KEYS.get(key.split("_")[1] if key.count("_") > 1 else "")
    given = hashlib.sha256(key.encode()).digest()
    if known is None or not hmac.compare_digest(known.digest(), given):
        raise NotAuthorizedException


@post("/v1/accounts/{account_id:str}/debits")
async def debit(request: Request[Any, Any, Any], account_id: str, data: DebitRequest) -> DebitReply:
    """A spend that spends nothing."""
    _check(request)
    return DebitReply(
        position=123456,
        recorded_at=_AT,
        account=_ACCOUNT,
        debit=Debit(
            debit_id="dbt_06h06l3q5n50hhdf04m6bl00000000o",
            amount=data.amount,
            refunded=0,
            reason=data.reason,
            reference=data.reference,
            lots=(LotAmount(grant_id="grt_06h06l3q4n50hhdf04m6bl00000000g", amount=data.amount),),
            metadata=data.metadata,
            created_at=_AT,
        ),
    )


@get("/v1/accounts/{account_id:str}")
async def account(request: Request[Any, Any, Any], account_id: str) -> Account:
    """A balance that is always the same."""
    _check(request)
    return _ACCOUNT


app = Litestar([debit, account], openapi_config=None, logging_config=None)
