"""The calls on models, and on what is generated with them."""

from __future__ import annotations

from datetime import datetime

from contracts.api.common import Page
from contracts.api.generations import (
    FlagReply,
    FlagRequest,
    FlagsReply,
    Generation,
    GenerationReply,
    GenerationRequest,
    GenerationStatus,
    Model,
    ModelsReply,
    ModelSwitchRequest,
)
from contracts.api.prices import Quote, QuoteRequest
from contracts.api.themes import ThemesReply
from contracts.client.tenant import TenantClient
from contracts.client.transport import segment


class GenerationCalls(TenantClient):
    """Errors, keys and dry runs are as with every call of `LedgerClient`."""

    async def models(self) -> ModelsReply:
        """What can be generated, and for how many credits."""
        return await self._transport.call("GET", "/v1/models", ModelsReply)

    async def themes(self) -> ThemesReply:
        """Prompts with settings that can be ordered by their names."""
        return await self._transport.call("GET", "/v1/themes", ThemesReply)

    async def switch_model(
        self, model: str, request: ModelSwitchRequest, *, dry_run: bool = False
    ) -> Model:
        """Take a model off the tenant's offer, or put it back on."""
        return await self._replace(f"/v1/models/{segment(model)}", Model, request, dry_run=dry_run)

    async def quote(self, request: QuoteRequest) -> Quote:
        """The price of a generation, promised until `expires_at`; nothing is charged."""
        return await self._transport.call(
            "POST", "/v1/quotes", Quote, body=request, repeatable=True
        )

    async def request_generation(
        self, request: GenerationRequest, *, key: str, dry_run: bool = False
    ) -> GenerationReply:
        """Ask for a generation; its price is debited in the same transaction."""
        path = "/v1/generations"
        return await self._write(path, GenerationReply, request, key, dry_run=dry_run)

    async def cancel_generation(self, generation_id: str) -> Generation:
        """Ask for it not to be made; the provider's verdict decides."""
        path = f"/v1/generations/{segment(generation_id)}/cancel"
        return await self._transport.call("POST", path, Generation, repeatable=True)

    async def delete_generation(self, generation_id: str) -> Generation:
        """Show it no more and remove its result; what it cost stays."""
        path = f"/v1/generations/{segment(generation_id)}"
        return await self._transport.call("DELETE", path, Generation, repeatable=True)

    async def generation(self, generation_id: str) -> Generation:
        """Where a generation stands now."""
        path = f"/v1/generations/{segment(generation_id)}"
        return await self._transport.call("GET", path, Generation)

    async def generations(
        self,
        account_id: str | None = None,
        *,
        status: GenerationStatus | None = None,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        flagged: bool = False,
        cursor: str | None = None,
    ) -> Page[Generation]:
        """A page of an account's generations, newest first, from `since` on and before `until`;
        without an account, with `flagged` and the scope `admin`, of the whole tenant's."""
        asked = {
            "account_id": account_id,
            "status": status,
            "model": model,
            "from": since.isoformat() if since else None,
            "to": until.isoformat() if until else None,
            "flagged": "true" if flagged else None,
            "cursor": cursor,
        }
        query = {name: value for name, value in asked.items() if value is not None}
        return await self._transport.call("GET", "/v1/generations", Page[Generation], query=query)

    async def flag_generation(
        self, generation_id: str, request: FlagRequest, *, key: str, dry_run: bool = False
    ) -> FlagReply:
        """Report what is wrong with a generation."""
        path = f"/v1/generations/{segment(generation_id)}/flags"
        return await self._write(path, FlagReply, request, key, dry_run=dry_run)

    async def flags(self, generation_id: str) -> FlagsReply:
        """What was reported of a generation, the newest first; needs the scope `admin`."""
        return await self._read(f"/v1/generations/{segment(generation_id)}/flags", FlagsReply)
