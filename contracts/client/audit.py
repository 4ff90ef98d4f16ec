"""The calls of those who follow the log: auditors, and comparisons with what others say."""

from __future__ import annotations

from contracts.api.log import EventsReply
from contracts.client.transport import Client
from contracts.limits import EVENTS_LIMIT_MAX


class AuditClient(Client):
    """Needs a key with the scope `audit`; it sees the events of that key's tenant alone."""

    async def events(self, after: int = 0, *, limit: int = EVENTS_LIMIT_MAX) -> EventsReply:
        """A stretch of the log past position `after`, oldest first; go on with `next_after` until
        it has reached `head`."""
        query = {"after": str(after), "limit": str(limit)}
        return await self._transport.call("GET", "/v1/events", EventsReply, query=query)
