"""``fal.run``: a model called directly, without the queue, its answer awaited on the connection.

At fal it has a host of its own; here it lies under ``/run``.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.di import NamedDependency

from deploy.emulators.fal import outcomes
from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.addresses import parse_address
from deploy.emulators.fal.admission import Admitted, admit
from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.errors import TOO_MANY
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.protocol import is_left_within, result_of
from deploy.emulators.fal.submits import SubmitLog
from deploy.emulators.fal.wire import Refusal, cut, respond

PREFIX: Final = "/run"
_LOOK_SECONDS: Final = 0.02
_UNANSWERED: Final = ("lost-submit", "reset-submit")


@post(PREFIX + "/{address:path}", status_code=200)
async def run(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    submits: NamedDependency[SubmitLog],
    accounts: NamedDependency[Accounts],
    clock: NamedDependency[Clock],
    owner: NamedDependency[str],
) -> Response[Any]:
    """Run a model and answer with its result; a 429 where all of the caller's runners are busy."""
    address = parse_address(request.scope["path"].removeprefix(PREFIX))
    if address.action != "submit":
        raise Refusal(405, {"detail": "Method Not Allowed"})

    def is_busy() -> outcomes.Answer | None:
        headers = {"x-fal-needs-retry": "1"}
        busy = outcomes.Answer(status_code=429, body=TOO_MANY, headers=headers)
        return None if queue.has_free_runner(owner) else busy

    admitted = await admit(request, address, queue, submits, accounts, owner, is_busy)
    if not isinstance(admitted, Admitted):
        return admitted
    request_id = admitted.job.request_id
    while queue.get(request_id).status != "COMPLETED":
        pause_seconds = min(_LOOK_SECONDS, clock.pause_seconds(clock.now() + _LOOK_SECONDS))
        if await is_left_within(pause_seconds, request):
            return Response(None, status_code=504)  # nobody is left to read it
        queue.advance(queue.now())
    if any(name in admitted.asked for name in _UNANSWERED):
        await cut(request)
        return Response(None, status_code=504)
    response = respond(result_of(request, queue, queue.get(request_id)))
    response.set_header("x-fal-request-id", request_id)
    return response
