"""Named SQL: each `.sql` file of `queries/` holds statements under `-- name: …` lines."""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(file_name: str) -> dict[str, str]:
    """The statements of `queries/<file_name>.sql` by name; comments above the first are dropped."""
    text = (resources.files(__package__) / "queries" / f"{file_name}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    names, bodies = parts[1::2], parts[2::2]
    assert len(set(names)) == len(names), f"{file_name}.sql names a statement twice"
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}
