"""Takes a request to its operation by one look-up, past Litestar's own routing.

Per request, Litestar's signature models, exit stacks and middleware cost more than everything that
we do in the event loop for a spend. None of it is needed where a declared operation is asked for
as declared; everything else (other addresses, other methods, start and stop) is Litestar's.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote

from litestar import Controller, Litestar
from litestar.types import Receive, Scope, Send

from ledger_service.api.gate import Gate
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.operations import Operation, operations

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


class Dispatcher:
    """The application as it is served. The protocol below it asks its `gate`."""

    def __init__(self, app: Litestar, controllers: Iterable[type[Controller]], gate: Gate) -> None:
        self.gate = gate
        self._app = app
        found = [
            o for o in operations(controllers) if all(kind in _GROUPS for _, kind in o.parameters)
        ]
        methods = {operation.endpoint.method for operation in found}
        self._routes = {
            method: Routes([o for o in found if o.endpoint.method == method]) for method in methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or leave it to Litestar."""
        answer = self._find(scope)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            reply = await answer(None, DirectRequest(self._app, scope, receive))
            await reply(scope, receive, send)

    def _find(self, scope: Any) -> Answer | None:
        routes = self._routes.get(scope["method"]) if scope["type"] == "http" else None
        return routes.find(scope) if routes else None


class Routes:
    """The operations of one method, as one pattern with a group for each."""

    def __init__(self, found: list[Operation]) -> None:
        self._answers: dict[str, tuple[Answer, int, tuple[str, ...]]] = {}
        patterns, groups = [], 0
        for number, operation in enumerate(found):
            names = tuple(name for name, _ in operation.parameters)
            self._answers[f"o{number}"] = (operation.answer, groups + 1, names)
            path = _pattern_of(operation)
            patterns.append(f"(?P<o{number}>{path})")
            groups += 1 + len(names)
        self._pattern = re.compile("|".join(patterns))

    def find(self, scope: Any) -> Answer | None:
        """The operation at this path, with its parameters put into the scope."""
        # As it was sent: an id or a key with a slash in it is still one part of the path.
        match = self._pattern.fullmatch(scope["raw_path"].decode("latin-1"))
        if match is None:
            return None
        assert match.lastgroup is not None
        answer, first, names = self._answers[match.lastgroup]
        values = map(unquote, match.groups()[first : first + len(names)])
        scope["path_params"] = dict(zip(names, values, strict=True))
        return answer


def _pattern_of(operation: Operation) -> str:
    kinds = dict(operation.parameters)
    return _PARAMETER.sub(lambda found: _GROUPS[kinds[found[1]]], operation.path)
