"""What the handlers of generations may use, built once by the composition root."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.claiming import ClaimBuilder
from ledger_service.generations.doorbell import Doorbell
from ledger_service.generations.moderation import Moderator
from ledger_service.generations.quotes import Quotes
from ledger_service.generations.roster import Roster
from ledger_service.generations.switchboard import Switchboard
from ledger_service.generations.themes import Themes
from ledger_service.generations.webhooks import WebhookJudge
from ledger_service.media.library import MediaLibrary
from ledger_service.media.uploads import Uploads
from ledger_service.signing import Signer
from ledger_service.store.forgettings import Forgettings
from ledger_service.store.generation_reads import GenerationReads


class GenerationServices(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about generations that outlives a request. No `moderator`: nobody is asked.
    `patience`: how long after its first attempt one may wait for a provider that takes nothing of
    us, if not up to its deadline."""

    catalogue: Catalogue
    themes: Themes
    switchboard: Switchboard
    quotes: Quotes
    claims: ClaimBuilder
    doorbell: Doorbell
    library: MediaLibrary
    uploads: Uploads
    reads: GenerationReads
    forgettings: Forgettings
    signer: Signer
    webhooks: WebhookJudge
    moderator: Moderator | None
    roster: Roster
    patience: timedelta | None
