"""Themes: named prompts with settings, each over one model."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from contracts.api.common import Reply
from contracts.limits import SUBJECT_MAX_CHARACTERS

Subject = Annotated[
    str, msgspec.Meta(min_length=1, max_length=SUBJECT_MAX_CHARACTERS, pattern=r"\S")
]
"""The caller's own words in a theme's prompt. Personal, like every input."""


class Theme(Reply, frozen=True, kw_only=True):
    """A prompt with settings that go well with it. `price` is that of its settings, in credits.

    `takes_subject`: the prompt has the place `{subject}`, which an order fills in. It can be had
    while theme and model are both on offer.
    """

    theme: str
    title: str
    description: str
    model: str
    kind: str
    prompt: str
    settings: dict[str, Any]
    takes_subject: bool
    price: int
    featured: bool
    available: bool


class ThemesReply(Reply, frozen=True, kw_only=True):
    """All themes, featured ones first; those that cannot be had now come last."""

    items: tuple[Theme, ...]
