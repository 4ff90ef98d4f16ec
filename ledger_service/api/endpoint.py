"""Declares the operations of the API, and reads their requests.

    @post("/debits", scope=Scope.SPEND, reply=DebitReply, status=201, keyed=True, summary="Spend")
    async def debit(self, call: Call, account_id: str, body: DebitRequest) -> HttpReply: ...

A handler's parameters say what it takes: `body` and `query` are Structs (checked before it runs),
`call` is who asks and what they may use, the rest are path parameters. One declaration feeds
authorization, checks, the OpenAPI document and the reference pages.
"""

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Required, TypedDict, Unpack

import litestar
import msgspec
from litestar import Controller, Request
from litestar.handlers import HTTPRouteHandler

from contracts.api.keys import Scope
from contracts.limits import BODY_MAX_BYTES
from contracts.problems import ProblemCode
from ledger_service.api.auth import permit
from ledger_service.api.body import canonical, parse_json, read_body, to_struct
from ledger_service.api.call import API_KEY_SPACE, Call
from ledger_service.api.dry_run import as_dry_run
from ledger_service.api.headers import Headers, idempotency_key, trace_of
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.incoming import IncomingFile
from ledger_service.api.languages import language_headers
from ledger_service.api.problem_details import instance_of, problem_of
from ledger_service.api.query import Query, WriteQuery, read_query
from ledger_service.api.services import Services
from ledger_service.domain.commands import Key

Handler = Callable[..., Awaitable[Any]]
Gate = Callable[[Services, Mapping[str, Any]], None]
Prove = Callable[[Services, Headers, bytes], Awaitable[Any]]

NO_KEY: Final = Key(API_KEY_SPACE, "dry-run")
"""Where an answer needs a key that nobody looks at."""

OPT: Final = "endpoint"
"""Where a route handler keeps its declaration."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `scopes`: any of them is enough; none: open to everyone.

    `gate` judges the path of a request that needs no key, before anything else of it is read;
    `prove` judges its headers and its raw body before that is parsed, and what it finds is the
    handler's `proven`. `translated`: its answers have texts in the language that was asked for.
    `file_types`: its body is a file of one of these: the handler's `file`, which takes it in.
    `has_head`: a HEAD gets the head of what a GET would.
    `handler` takes a controller (none of them has a state), a call and what its signature says.
    """

    name: str
    handler: Handler
    method: str
    summary: str
    description: str
    scopes: tuple[Scope, ...]
    body: Any
    query: type[Query]
    reply: Any
    status: int
    problems: tuple[ProblemCode, ...]
    is_keyed: bool
    body_max_bytes: int
    example: Any
    media_types: tuple[str, ...]
    gate: Gate | None
    prove: Prove | None
    translated: bool
    file_types: tuple[str, ...]
    has_head: bool

    @property
    def may_run_dry(self) -> bool:
        """Whether it takes `?dry_run=true`."""
        return issubclass(self.query, WriteQuery)

    def every_problem(self) -> tuple[ProblemCode, ...]:
        """All codes that it can answer with, in the order of the list of codes."""
        code = ProblemCode
        found = {*self.problems, code.INTERNAL, code.VALIDATION_FAILED}
        if self.scopes:
            found |= {code.UNAUTHENTICATED, code.FORBIDDEN, code.UNAVAILABLE}
        if self.body is not None or self.file_types:
            found |= {code.PAYLOAD_TOO_LARGE, code.UNSUPPORTED_MEDIA_TYPE}
        if self.is_keyed:
            found |= {code.IDEMPOTENCY_KEY_MISSING, code.IDEMPOTENCY_KEY_REUSED}
            found |= {code.COMMAND_VOIDED, code.OUTCOME_UNKNOWN}
        if "min_position" in self.query.__struct_fields__:
            found.add(code.NOT_CAUGHT_UP)
        if "cursor" in self.query.__struct_fields__:
            found.add(code.CURSOR_INVALID)
        return tuple(known for known in code if known in found)


class Declaration(TypedDict, total=False):
    """What a decorator takes; what is left out has the default of `Endpoint`.

    `reply` is the shape of the answer, `problems` the codes that are this operation's own (those
    that follow from the rest are added), `example` a body for the reference. Keyed operations,
    PATCH and PUT may run dry; any other that does so says it.
    """

    scope: Required[Scope | tuple[Scope, ...] | None]
    summary: Required[str]
    reply: Required[Any]
    status: int
    problems: tuple[ProblemCode, ...]
    keyed: bool
    body_max_bytes: int
    example: Any
    media_types: tuple[str, ...]
    gate: Gate
    prove: Prove
    may_run_dry: bool
    translated: bool
    file_types: tuple[str, ...]
    has_head: bool


Decorated = Callable[[Handler], HTTPRouteHandler]


def get(path: str = "/", **declared: Unpack[Declaration]) -> Decorated:
    """A read."""
    return _declaring(litestar.get, "GET", path, declared)


def post(path: str = "/", **declared: Unpack[Declaration]) -> Decorated:
    """A write that creates or moves something."""
    return _declaring(litestar.post, "POST", path, declared)


def patch(path: str = "/", **declared: Unpack[Declaration]) -> Decorated:
    """A change."""
    return _declaring(litestar.patch, "PATCH", path, declared)


def put(path: str = "/", **declared: Unpack[Declaration]) -> Decorated:
    """A replacement."""
    return _declaring(litestar.put, "PUT", path, declared)


def delete(path: str = "/", **declared: Unpack[Declaration]) -> Decorated:
    """A removal."""
    return _declaring(litestar.delete, "DELETE", path, declared)


def declare(handler: Handler, method: str, declared: Declaration) -> Endpoint:
    """The declaration of a handler: what its decorator says, the rest from its signature."""
    parameters = inspect.signature(handler).parameters
    scope, is_keyed = declared["scope"], declared.get("keyed", False)
    may_run_dry = declared.get("may_run_dry", is_keyed or method in {"PATCH", "PUT"})
    query = WriteQuery if may_run_dry else Query
    return Endpoint(
        name=handler.__name__,
        handler=handler,
        method=method,
        summary=declared["summary"],
        description=inspect.getdoc(handler) or "",
        scopes=() if scope is None else scope if isinstance(scope, tuple) else (scope,),
        body=parameters["body"].annotation if "body" in parameters else None,
        query=parameters["query"].annotation if "query" in parameters else query,
        reply=declared["reply"],
        status=declared.get("status", 200),
        problems=declared.get("problems", ()),
        is_keyed=is_keyed,
        body_max_bytes=declared.get("body_max_bytes", BODY_MAX_BYTES),
        example=declared.get("example"),
        media_types=declared.get("media_types", ("application/json",)),
        gate=declared.get("gate"),
        prove=declared.get("prove"),
        translated=declared.get("translated", False),
        file_types=declared.get("file_types", ()),
        has_head=declared.get("has_head", False),
    )


def _declaring(decorator: Any, method: str, path: str, declared: Declaration) -> Decorated:
    def decorate(handler: Handler) -> HTTPRouteHandler:
        endpoint = declare(handler, method, declared)
        route: HTTPRouteHandler = decorator(
            path, opt={OPT: endpoint}, status_code=endpoint.status, include_in_schema=False
        )(_answering(endpoint, handler))
        return route

    return decorate


def _answering(endpoint: Endpoint, handler: Handler) -> Handler:
    """What the dispatcher calls: from a raw request to a finished answer, whatever happens."""
    takes_query = "query" in inspect.signature(handler).parameters

    async def answer(self: Controller, request: Request[Any, Any, Any]) -> HttpReply:
        services: Services = request.app.state.services
        headers = Headers(request.scope["headers"])
        trace = trace_of(headers)
        try:
            identity = None
            if endpoint.scopes:
                identity = await services.authenticator.identify(headers.get(b"authorization"))
                permit(identity, endpoint.scopes)
            arguments: dict[str, Any] = {**request.scope["path_params"]}
            if endpoint.gate is not None:
                endpoint.gate(services, arguments)
            call = Call(services, identity, headers, trace)
            raw_query = request.scope["query_string"]
            if takes_query or raw_query:
                query = read_query(raw_query, endpoint.query)
                call.is_dry_run = getattr(query, "dry_run", False)
                if takes_query:
                    arguments["query"] = query
            if endpoint.is_keyed:
                call.key = NO_KEY if call.is_dry_run else key_of(idempotency_key(headers))
            if endpoint.file_types:
                arguments["file"] = IncomingFile(
                    request.receive, headers, endpoint.body_max_bytes, endpoint.file_types
                )
            document = None
            if endpoint.body is not None:
                raw = await read_body(request.receive, headers, endpoint.body_max_bytes)
                if endpoint.prove is not None:
                    arguments["proven"] = await endpoint.prove(services, headers, raw)
                document = parse_json(raw)
                arguments["body"] = to_struct(document, endpoint.body)
            if endpoint.is_keyed:
                call.fingerprint = fingerprint_of(endpoint.method, request.scope["path"], document)
            reply = await carry_out(endpoint, call, arguments, self)
        except Exception as error:
            reply = problem_of(error, instance_of(request.scope), trace.trace_id)
        reply.headers.append((b"trace-id", trace.trace_id.encode()))
        return reply

    answer.__name__ = handler.__name__
    answer.__qualname__ = handler.__qualname__
    answer.__doc__ = handler.__doc__
    return answer


async def carry_out(
    endpoint: Endpoint, call: Call, arguments: dict[str, Any], controller: Controller | None = None
) -> HttpReply:
    """The answer of an operation to checked arguments. Raises whatever refuses it."""
    reply: HttpReply = await endpoint.handler(controller, call, **arguments)
    if endpoint.translated:
        reply.headers += language_headers(call.language)
    return as_dry_run(reply, call.planned) if call.is_dry_run else reply


def key_of(text: str) -> Key:
    """A caller's idempotency key."""
    return Key(API_KEY_SPACE, text)


def fingerprint_of(method: str, path: str, document: Any) -> bytes:
    """One request under a key is told from another by method, path (with its ids) and body.

    Kept for ever beside the key, so it is made of nothing but what the caller sees.
    """
    route = f"{method} {path.rstrip('/')}\n"
    return hashlib.sha256(route.encode() + canonical(document)).digest()
