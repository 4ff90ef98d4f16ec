"""Files that callers give as inputs of generations."""

from __future__ import annotations

from datetime import datetime

from contracts.api.common import Reply


class Upload(Reply, frozen=True, kw_only=True):
    """A stored file. `url` serves it to anyone until `expires_at`, providers among them, and may
    stand in an input wherever a model takes an address; then the file is removed."""

    url: str
    expires_at: datetime
    content_type: str
    size_bytes: int
    sha256: str
