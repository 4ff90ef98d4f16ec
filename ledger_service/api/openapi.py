"""The OpenAPI 3.1 document, made from the same declarations that requests are read by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from contracts.limits import ID_MAX_CHARACTERS, IDEMPOTENCY_KEY_MAX_CHARACTERS
from contracts.problems import TYPE_URI_PREFIX, Problem, ProblemCode
from ledger_service.api.endpoint import Endpoint
from ledger_service.api.languages import Language
from ledger_service.api.operations import Operation
from ledger_service.api.problem_details import KINDS
from ledger_service.api.query import Query

VERSION: Final = "1"
_REF: Final = "#/components/schemas/{name}"
_PROBLEM_REF: Final = {"$ref": _REF.format(name="Problem")}
_TEXT_IN_PATH: Final = {"type": "string", "minLength": 1}
_IN_PATH: Final = {"str": _TEXT_IN_PATH, "path": _TEXT_IN_PATH, "int": {"type": "integer"}}
_ACCOUNT_ID: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_MAX_CHARACTERS,
    "pattern": r"^[A-Za-z0-9_\-.:]+$",
}
_DESCRIPTION: Final = """\
An append-only ledger of credits, and generated media paid from it.

- **Authentication**: `Authorization: Bearer <API key>`. A key belongs to one tenant; what belongs \
to another looks exactly like what does not exist.
- **Idempotency**: writes that move credits need an `Idempotency-Key`. The same key with the same \
request has one effect and gets the first answer again, byte for byte, marked \
`Idempotent-Replayed: true`. Keys never expire.
- **Dry runs**: `?dry_run=true` on a write tells what it would answer, and does nothing. It needs \
no key; ids, `position` and `version` that are yet to be made are null.
- **Amounts** are positive integers of credits; the verb says the direction. Numbers with a \
fraction, numbers in quotes and unknown fields are refused.
- **Errors** are problem documents (RFC 9457) with a stable `code`. In `errors`, `pointer` is a \
JSON pointer into the body, `?name` for a query parameter, or a header's name.
- **503** with `unavailable` means that nothing was changed; with `outcome_unknown` ask again with \
the same key.
- **Tracing**: send `traceparent`; every answer carries a `Trace-Id`.
"""
_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": 'Your own id of this very request; `"abc"` and `abc` are the same key.',
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": IDEMPOTENCY_KEY_MAX_CHARACTERS,
        "pattern": "^[!-~]+$",
    },
    "example": "order-1234",
}
_LANGUAGE_PARAMETER: Final = {
    "name": "Accept-Language",
    "in": "header",
    "required": False,
    "description": f"The language of texts for people: one of {', '.join(Language)}.",
    "schema": {"type": "string", "default": str(Language.EN)},
    "example": "tr, en;q=0.8",
}
_DRY_RUN: Final = {"const": True, "description": "Only in the answer to a dry run."}


def openapi_document(listed: Iterable[Operation]) -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    found = list(listed)
    schemas, components = _components(found)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in found:
        method = operation.endpoint.method.lower()
        paths[operation.path][method] = _described(operation, schemas, components)
    shown = {name: schema for name, schema in components.items() if not name.endswith("Query")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Credit Ledger", "version": VERSION, "description": _DESCRIPTION},
        "paths": dict(paths),
        "components": {
            "schemas": dict(sorted(shown.items())),
            "examples": {code: {"value": example_problem(code)} for code in KINDS},
            "securitySchemes": {
                "api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "ck_<id>_<secret>"}
            },
        },
        "security": [{"api_key": []}],
    }


def _components(found: list[Operation]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Schemas by type, and the components that they refer to."""
    types: list[Any] = [Problem]
    for operation in found:
        endpoint = operation.endpoint
        types += [kind for kind in (endpoint.body, endpoint.query, endpoint.reply) if kind]
    unique = [kind for kind in dict.fromkeys(types) if kind is not bytes]
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    return dict(zip(unique, schemas, strict=True)), components


def _described(
    operation: Operation, schemas: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    endpoint = operation.endpoint
    described: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [operation.tag],
        "parameters": [
            *_path_parameters(operation),
            *([_KEY_PARAMETER] if endpoint.is_keyed else []),
            *([_LANGUAGE_PARAMETER] if endpoint.translated else []),
            *_query_parameters(endpoint.query, components),
        ],
        "responses": {
            str(endpoint.status): _success(endpoint, schemas),
            **_failures(endpoint),
        },
        "security": [{"api_key": []}] if endpoint.scopes else [],
    }
    if endpoint.scopes:
        described["x-scopes"] = [str(scope) for scope in endpoint.scopes]
    if endpoint.body is not None:
        described["requestBody"] = _request_body(endpoint, schemas)
    elif endpoint.file_types:
        described["requestBody"] = {
            "required": True,
            "content": {media_type: {} for media_type in endpoint.file_types},
        }
    return described


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _ACCOUNT_ID if name == "account_id" else _IN_PATH[kind],
        }
        for name, kind in operation.parameters
    ]


def _query_parameters(query: type[Query], components: dict[str, Any]) -> list[dict[str, Any]]:
    schema = components.get(query.__name__, {})
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _given(described)}
        for name, described in schema.get("properties", {}).items()
    ]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out rather than null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _request_body(endpoint: Endpoint, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schemas[endpoint.body]}
    if endpoint.example is not None:
        content["example"] = endpoint.example
    return {"required": True, "content": {"application/json": content}}


def _success(endpoint: Endpoint, schemas: dict[Any, Any]) -> dict[str, Any]:
    content = {}
    for media_type in endpoint.media_types:
        schema = schemas.get(endpoint.reply, {"type": "string"})
        if endpoint.may_run_dry:
            schema = {**schema, "properties": {"dry_run": _DRY_RUN}}
        content[media_type] = {"schema": schema} if media_type == "application/json" else {}
    headers: dict[str, Any] = {"Trace-Id": {"schema": {"type": "string"}}}
    if endpoint.is_keyed:
        headers["Idempotent-Replayed"] = {"schema": {"type": "string", "const": "true"}}
    if endpoint.translated:
        headers["Content-Language"] = {"schema": {"enum": [str(each) for each in Language]}}
    return {"description": "Done.", "headers": headers, "content": content}


def _failures(endpoint: Endpoint) -> dict[str, Any]:
    by_status: dict[int, list[ProblemCode]] = defaultdict(list)
    for code in endpoint.every_problem():
        by_status[KINDS[code].status].append(code)
    return {str(status): _failure(codes) for status, codes in sorted(by_status.items())}


def _failure(codes: list[ProblemCode]) -> dict[str, Any]:
    return {
        "description": " ".join(f"`{code}`: {KINDS[code].detail}" for code in codes),
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [_PROBLEM_REF],
                    "properties": {"code": {"enum": [str(code) for code in codes]}},
                },
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def example_problem(code: ProblemCode) -> dict[str, Any]:
    """What a problem document of this code looks like."""
    kind = KINDS[code]
    return {
        "type": TYPE_URI_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "code": str(code),
        "detail": kind.detail,
        "instance": "/v1/accounts/user-4711",
        **_DATA_FIELDS.get(code, {}),
    }


_DATA_FIELDS: Final[dict[ProblemCode, dict[str, Any]]] = {
    ProblemCode.VALIDATION_FAILED: {
        "errors": [{"pointer": "/amount", "detail": "Expected `int` >= 1"}]
    },
    ProblemCode.INSUFFICIENT_CREDITS: {"available": 20, "required": 30, "shortfall": 10},
    ProblemCode.FORBIDDEN: {"needed_scope": "spend"},
    ProblemCode.REFUND_EXCEEDS_DEBIT: {"refundable": 5, "requested": 10},
    ProblemCode.SPEND_LIMIT_REACHED: {
        "limit_id": "daily",
        "limit": 1000,
        "used": 980,
        "required": 30,
        "resets_at": "2030-01-02T00:00:00Z",
    },
    ProblemCode.ACCOUNT_MERGED: {"merged_into": "user-4712"},
    ProblemCode.HOLD_NOT_OPEN: {"hold_status": "expired"},
    ProblemCode.CAPTURE_EXCEEDS_HOLD: {"held": 30, "requested": 31},
    ProblemCode.GRANT_DERIVED: {
        "origin": {"account_id": "user-4711", "grant_id": "grt_06h0rlp4uop6polp8k36n4800000001"}
    },
    ProblemCode.UNIT_MISMATCH: {"unit": "credit", "to_unit": "token"},
    ProblemCode.PAYLOAD_TOO_LARGE: {"size_max_bytes": 65536},
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: {"media_types": ["application/json"]},
    ProblemCode.RANGE_NOT_SATISFIABLE: {"size_bytes": 9537},
}
