"""The HTTP client of the ledger: what the worker and the gateways in front of it speak.

::

    async with LedgerClient(url, api_key) as ledger:
        await ledger.grant("user-1", GrantRequest(amount=100, source=Source.PROMO), key="welcome-1")
        reply = await ledger.request_generation(request, key="order-77")

    errors.py       what can go wrong, two classes  transport.py  one call: time limit, retries
    ledger.py       calls of an app's backend       work.py       calls of the job worker
    generations.py  models, orders, reports         operating.py  what operators do
    holds.py        holds, clawbacks                audit.py      the log, for those who follow it
"""

from contracts.client.audit import AuditClient
from contracts.client.errors import LedgerError, LedgerRejected, LedgerUnavailable
from contracts.client.ledger import LedgerClient
from contracts.client.work import WorkClient

__all__ = [
    "AuditClient",
    "LedgerClient",
    "LedgerError",
    "LedgerRejected",
    "LedgerUnavailable",
    "WorkClient",
]
