"""The list of all operations, gathered from the controllers that declare them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
from litestar import Controller
from litestar.handlers import HTTPRouteHandler

from ledger_service.api.endpoint import OPT, Endpoint
from ledger_service.api.http_reply import HttpReply

_TYPED_PARAMETER: Final = re.compile(r"{(\w+):(\w+)}")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint at its address. `parameters`: path parameters with their types, in order;
    `answer`: what takes a request to its reply."""

    path: str
    tag: str
    parameters: tuple[tuple[str, str], ...]
    endpoint: Endpoint
    answer: Callable[[Any, Any], Awaitable[HttpReply]]

    @property
    def title(self) -> str:
        """Method and path, as people write them."""
        return f"{self.endpoint.method} {self.path}"


def operations(controllers: Iterable[type[Controller]]) -> tuple[Operation, ...]:
    """Everything that can be asked of the API, in the order of declaration."""
    found = [
        _operation(controller, path, handler)
        for controller in controllers
        for handler in vars(controller).values()
        if isinstance(handler, HTTPRouteHandler)
        for path in handler.paths
    ]
    names = [operation.endpoint.name for operation in found]
    assert len(set(names)) == len(names), "two handlers have the same name"
    return tuple(found)


def _operation(controller: type[Controller], path: str, handler: HTTPRouteHandler) -> Operation:
    declared = vars(controller)
    parts = [part.strip("/") for part in (declared["path"], path)]
    typed = "/" + "/".join(part for part in parts if part)
    return Operation(
        path=_TYPED_PARAMETER.sub(r"{\1}", typed),
        tag=declared["tags"][0],
        parameters=tuple((name, kind) for name, kind in _TYPED_PARAMETER.findall(typed)),
        endpoint=handler.opt[OPT],
        answer=handler.fn,
    )
