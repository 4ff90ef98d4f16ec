"""Takes a request to its operation by one look-up, past Litestar's own routing.

Per request, Litestar's signature models, exit stacks and middleware cost more than everything that
we do in the event loop for a spend. None of it is needed where a declared operation is asked for
as declared; everything else (other addresses, other methods, start and stop) is Litestar's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from litestar import Controller, Litestar
from litestar.types import Receive, Scope, Send

from ledger_service.api.gate import Gate
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.operations import Operation, operations
from ledger_service.api.traffic import Meter, Traffic

Answer = Callable[[Any, Any], Awaitable[HttpReply]]

_PARAMETER: Final = re.compile(r"{(\w+)}")
# A path is taken as it stands, slashes and all, at the end of an address.
_GROUPS: Final = {"str": "([^/]+)", "path": r"([\s\S]+)"}


class DirectRequest:
    """As much of a request as operations look at."""

    __slots__ = ("app", "receive", "scope")

    def __init__(self, app: Litestar, scope: Any, receive: Receive) -> None:
        self.app = app
        self.scope = scope
        self.receive = receive


class Route(NamedTuple):
    """What answers at an address; `parameters` are groups of its pattern from `first` on."""

    answer: Answer
    meter: Meter
    first: int
    parameters: tuple[str, ...]


class Dispatcher:
    """The application as it is served. The protocol below it asks its `gate`; `traffic` learns of
    every answer."""

    def __init__(
        self,
        app: Litestar,
        controllers: Iterable[type[Controller]],
        gate: Gate,
        traffic: Traffic,
    ) -> None:
        self.gate = gate
        self._app = app
        self._elsewhere = traffic.meter("any", "elsewhere")
        declared = operations(controllers)
        found = [o for o in declared if all(kind in _GROUPS for _, kind in o.parameters)]
        self._left = {
            (o.endpoint.method, o.path): traffic.meter(o.endpoint.method, o.path)
            for o in declared
            if o not in found
        }
        methods = {operation.endpoint.method for operation in found}
        self._routes = {
            method: Routes([o for o in found if o.endpoint.method == method], traffic)
            for method in methods
        }
        self._routes["HEAD"] = Routes([o for o in found if o.endpoint.has_head], traffic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or leave it to Litestar."""
        route = self._find(scope)
        if route is None:
            await self._leave(scope, receive, send)
        else:
            started = time.perf_counter()
            reply = await route.answer(None, DirectRequest(self._app, scope, receive))
            route.meter.note(reply.status, time.perf_counter() - started)
            await reply(scope, receive, send)

    def _find(self, scope: Any) -> Route | None:
        routes = self._routes.get(scope["method"]) if scope["type"] == "http" else None
        return routes.find(scope) if routes else None

    async def _leave(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                route: Any = (scope.get("method"), scope.get("path_template"))
                meter = self._left.get(route, self._elsewhere)
                meter.note(message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, sending)


class Routes:
    """The operations of one method, as one pattern with a group for each."""

    def __init__(self, found: list[Operation], traffic: Traffic) -> None:
        self._routes: dict[str, Route] = {}
        patterns, groups = [], 0
        for number, operation in enumerate(found):
            names = tuple(name for name, _ in operation.parameters)
            meter = traffic.meter(operation.endpoint.method, operation.path)
            self._routes[f"o{number}"] = Route(operation.answer, meter, groups + 1, names)
            path = _pattern_of(operation)
            patterns.append(f"(?P<o{number}>{path})")
            groups += 1 + len(names)
        self._pattern = re.compile("|".join(patterns))

    def find(self, scope: Any) -> Route | None:
        """The operation at this path, with its parameters put into the scope."""
        # As it was sent: an id or a key with a slash in it is still one part of the path.
        match = self._pattern.fullmatch(scope["raw_path"].decode("latin-1"))
        if match is None:
            return None
        assert match.lastgroup is not None
        route = self._routes[match.lastgroup]
        values = map(unquote, match.groups()[route.first : route.first + len(route.parameters)])
        scope["path_params"] = dict(zip(route.parameters, values, strict=True))
        return route


def _pattern_of(operation: Operation) -> str:
    kinds = dict(operation.parameters)
    return _PARAMETER.sub(lambda found: _GROUPS[kinds[found[1]]], operation.path)
