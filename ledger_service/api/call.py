"""What a handler is given besides path parameters, query and body."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from contracts.limits import READ_WAIT_SECONDS
from contracts.problems import ProblemCode
from ledger_service.api.answers import Bearer
from ledger_service.api.auth import Identity
from ledger_service.api.headers import Headers, Trace
from ledger_service.api.http_reply import Header, HttpReply
from ledger_service.api.languages import Language, language_of
from ledger_service.api.orders import Order
from ledger_service.api.replies import answer_in, render
from ledger_service.api.services import Services
from ledger_service.api.shapes import answer_digest, shows_earlier
from ledger_service.domain.commands import Command, Key
from ledger_service.domain.ids import owner_of
from ledger_service.engine.submission import Done, Submission
from ledger_service.errors import NotCaughtUp, OutcomeUnknown, Rejected, Unavailable

_ACCOUNT_ID: Final = re.compile(r"[A-Za-z0-9_\-.:]{1,128}")
REPLAYED: Final = (b"idempotent-replayed", b"true")
API_KEY_SPACE: Final = "k"


class Call:
    """One request that has been let in. `planned`: what its dry run would have recorded."""

    __slots__ = (
        "_identity",
        "fingerprint",
        "headers",
        "is_dry_run",
        "key",
        "planned",
        "services",
        "trace",
    )

    def __init__(
        self,
        services: Services,
        identity: Identity | None,
        headers: Headers,
        trace: Trace,
        key: Key | None = None,
        fingerprint: bytes | None = None,
        is_dry_run: bool = False,
    ) -> None:
        self.services = services
        self._identity = identity
        self.headers = headers
        self.trace = trace
        self.key = key
        self.fingerprint = fingerprint
        self.is_dry_run = is_dry_run
        self.planned: list[tuple[str, int]] = []

    def part(self, number: int) -> Call:
        """The same request's command of this number, with a mark of its own."""
        part = Call(self.services, self._identity, self.headers, self.trace.of_part(number))
        part.is_dry_run = self.is_dry_run
        return part

    @property
    def identity(self) -> Identity:
        """Who asks; only operations without a scope have nobody."""
        assert self._identity is not None
        return self._identity

    @property
    def tenant(self) -> str:
        """The caller's tenant. Workers and operators have none and never come here."""
        assert self.identity.tenant is not None
        return self.identity.tenant

    def owner(self, account_id: str) -> str:
        """The caller's account of this id; an id that cannot exist is one that does not."""
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        return owner_of(self.tenant, account_id)

    @property
    def language(self) -> Language:
        """The language of texts for people."""
        return language_of(self.headers.every(b"accept-language"))

    @property
    def base_url(self) -> str:
        """How the caller reaches the ledger: configured, or as this request says."""
        host = (self.headers.get(b"host") or b"localhost").decode("latin-1")
        return self.services.settings.public_url or f"http://{host}"

    async def submit(self, command: Command, private: dict[str, Any] | None = None) -> Done:
        """Carry out a command; `private` goes to the vault."""
        return await self.submit_as(self.identity.actor, command, private)

    async def submit_as(
        self, actor: str, command: Command, private: dict[str, Any] | None = None
    ) -> Done:
        """Carry out a command for somebody who has no key."""
        submission = Submission(
            command=command,
            actor=actor,
            # Unique per request: by it the engine tells its own commit from an earlier one.
            trace_id=f"{self.trace.trace_id}-{self.trace.span_id}",
            occurred_at=datetime.now(UTC),
            fingerprint=self.fingerprint,
            private=private,
            is_dry_run=self.is_dry_run,
        )
        done = await self.services.engine.submit(submission)
        self.planned += done.planned or ()
        return done

    async def carry_out(self, order: Order) -> HttpReply:
        """Carry out a keyed command and give its answer; the first one again for a replay."""
        return await self.render(await self.submit(*order), order.private)

    async def render(
        self, done: Done, private: dict[str, Any] | None, headers: tuple[Header, ...] = ()
    ) -> HttpReply:
        """The answer to a keyed command; the first one again for a replay."""
        assert done.answer is not None, "a keyed command has an answer"
        if done.is_replay:
            headers = (*headers, REPLAYED)
        # A repeat may name the same things in another order; the vault has the first one's.
        if done.is_replay or shows_earlier(done.answer.event):
            private = await self._kept_after(done, done.answer)
        body = render(done.answer, private)
        return HttpReply(body, answer_in(done.answer).http_status, headers=headers)

    async def _kept_after(self, done: Done, answer: Bearer) -> dict[str, Any] | None:
        try:
            return await self.kept_for(answer)
        except Unavailable:
            if done.is_replay or self.is_dry_run:
                raise
            raise OutcomeUnknown from None  # it did take effect: never say that it did not

    async def kept_for(self, answer: Bearer) -> dict[str, Any] | None:
        """What the vault has of the thing that a first answer shows; null: nothing (left)."""
        digest = answer_digest(answer.event)
        if digest is None:
            return None
        found = await self.services.reads.private([(answer.owner, digest)])
        return found[digest]

    async def at_least(self, position: int | None) -> None:
        """Wait until the log has reached `position`. Raises `NotCaughtUp` after 2 s."""
        if position is not None and not await self.services.log_head.reaches(
            position, READ_WAIT_SECONDS, self.services.draining
        ):
            raise NotCaughtUp
