"""Batches: many commands in one request, each answered as if it had come alone."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Controller

from contracts.api.batches import BatchOp, BatchReply, BatchRequest, BatchResult
from contracts.api.keys import Scope
from contracts.limits import BATCH_BODY_MAX_BYTES
from contracts.problems import ProblemCode
from ledger_service.api.auth import permit
from ledger_service.api.body import fault, to_struct
from ledger_service.api.call import REPLAYED, Call
from ledger_service.api.debits import DebitsController
from ledger_service.api.endpoint import NO_KEY, carry_out, fingerprint_of, key_of, post
from ledger_service.api.grants import GrantsController
from ledger_service.api.headers import readable_key
from ledger_service.api.holds import HoldsController
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.operating import OperatingController, TransfersController
from ledger_service.api.operations import Operation, operations
from ledger_service.api.problem_details import problem_of
from ledger_service.domain.commands import Key
from ledger_service.errors import Rejected

_ACCOUNT: Final = "POST /v1/accounts/{account_id}"
_TITLES: Final = {
    BatchOp.GRANT: f"{_ACCOUNT}/grants",
    BatchOp.DEBIT: f"{_ACCOUNT}/debits",
    BatchOp.REFUND: f"{_ACCOUNT}/debits/{{debit_id}}/refunds",
    BatchOp.HOLD: f"{_ACCOUNT}/holds",
    BatchOp.CAPTURE: f"{_ACCOUNT}/holds/{{hold_id}}/capture",
    BatchOp.RELEASE: f"{_ACCOUNT}/holds/{{hold_id}}/release",
    BatchOp.EXTEND: f"{_ACCOUNT}/holds/{{hold_id}}/extend",
    BatchOp.CLAWBACK: f"{_ACCOUNT}/grants/{{grant_id}}/clawback",
    BatchOp.VOID: f"{_ACCOUNT}/grants/{{grant_id}}/void",
    BatchOp.ADJUST: f"{_ACCOUNT}/adjustments",
    BatchOp.TRANSFER: "POST /v1/transfers",
    BatchOp.FREEZE: f"{_ACCOUNT}/freeze",
    BatchOp.UNFREEZE: f"{_ACCOUNT}/unfreeze",
    BatchOp.CLOSE: f"{_ACCOUNT}/close",
    BatchOp.WRITE_OFF: f"{_ACCOUNT}/write-offs",
}
_CONTROLLERS: Final = (
    GrantsController,
    DebitsController,
    HoldsController,
    OperatingController,
    TransfersController,
)
_KNOWN: Final = {it.title: it for it in operations(_CONTROLLERS)}
OPERATIONS: Final = {op: _KNOWN[title] for op, title in _TITLES.items()}
"""The single operation that each command of a batch stands for."""


class BatchesController(Controller):
    """`/v1/batches`."""

    path = "/v1/batches"
    tags = ("Batches",)

    @post(
        scope=(Scope.SPEND, Scope.GRANT, Scope.REFUND, Scope.ADMIN),
        reply=BatchReply,
        summary="Send many commands",
        body_max_bytes=BATCH_BODY_MAX_BYTES,
        may_run_dry=True,
        example={
            "commands": [
                {
                    "op": "grant",
                    "account_id": "user-4711",
                    "idempotency_key": "monthly-2030-01-4711",
                    "amount": 100,
                    "source": "subscription",
                },
                {
                    "op": "debit",
                    "account_id": "user-4711",
                    "idempotency_key": "usage-2030-01-4711",
                    "amount": 30,
                    "reason": "image-upscale",
                },
            ]
        },
    )
    async def run_batch(self, call: Call, body: BatchRequest) -> HttpReply:
        """Carry out 1 to 1,000 independent commands in order; share the cost of their commits.

        Each has the key, the scope, the effect and the answer (`status` and `body`) of the
        single operation, refusals included: one that fails stops no other, and a retry, here or
        there, is a replay. The batch itself needs no key and answers 200. In a dry run each is
        judged by itself.
        """
        with call.services.batch_room.of(len(body.commands)) as room:

            async def one(number: int, command: Any) -> BatchResult:
                async with room:
                    return await _result(call, number, command)

            results = await asyncio.gather(*[one(*listed) for listed in enumerate(body.commands)])
        return json_reply(BatchReply(results=tuple(results)))


async def _result(call: Call, number: int, command: Any) -> BatchResult:
    """One command's answer, whatever happens."""
    single = call.part(number)
    instance = BatchesController.path
    try:
        fields = _fields(command)
        operation = _operation(fields)
        ids = {name: _text(fields, name) for name, _ in operation.parameters}
        instance = operation.path.format_map({name: quote(ids[name], safe=":") for name in ids})
        reply = await _carried_out(single, operation, ids, fields)
    except Exception as error:
        reply = problem_of(error, instance, call.trace.trace_id)
    is_replay = REPLAYED in reply.headers
    return BatchResult(status=reply.status, body=msgspec.Raw(reply.body), replayed=is_replay)


async def _carried_out(
    call: Call, operation: Operation, ids: dict[str, str], fields: dict[str, Any]
) -> HttpReply:
    """As `endpoint.py` does it for a request of its own."""
    endpoint = operation.endpoint
    permit(call.identity, endpoint.scopes)
    call.key = _key(fields, is_needed=not call.is_dry_run)
    document = fields if endpoint.body is not None else None
    arguments: dict[str, Any] = {**ids}
    if endpoint.body is not None:
        arguments["body"] = to_struct(document, endpoint.body)
    elif fields:
        raise fault("/" + next(iter(fields)), "this command has no such field")
    path = operation.path.format_map(ids)
    call.fingerprint = fingerprint_of(endpoint.method, path, document)
    return await carry_out(endpoint, call, arguments)


def _fields(command: Any) -> dict[str, Any]:
    if not isinstance(command, dict):
        raise fault("", "a command is an object")
    return dict(command)


def _operation(fields: dict[str, Any]) -> Operation:
    try:
        return OPERATIONS[BatchOp(_text(fields, "op"))]
    except (KeyError, ValueError):
        raise fault("/op", f"must be one of {', '.join(OPERATIONS)}") from None


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.pop(name, None)
    if not isinstance(value, str):
        raise fault(f"/{name}", "a string is required here")
    return value


def _key(fields: dict[str, Any], *, is_needed: bool) -> Key:
    if not is_needed:
        fields.pop("idempotency_key", None)
        return NO_KEY
    if fields.get("idempotency_key", "") == "":
        raise Rejected(ProblemCode.IDEMPOTENCY_KEY_MISSING)
    text = _text(fields, "idempotency_key")
    try:
        return key_of(readable_key(text.encode()))
    except Rejected as refused:
        raise fault("/idempotency_key", refused.errors[0].detail) from None
