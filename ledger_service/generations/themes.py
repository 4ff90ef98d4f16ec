"""Themes as they are on offer, and what is to be made of an order that names one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.api.generations import GenerationRequest
from contracts.api.prices import QuoteRequest
from contracts.api.themes import Theme
from contracts.problems import FieldError, ProblemCode
from ledger_service.domain.generation.pricing import price
from ledger_service.errors import Rejected
from ledger_service.generations.catalogue import (
    UNTOUCHED,
    Catalogue,
    Switches,
    default_input,
)
from ledger_service.generations.document import Document
from ledger_service.generations.theme_rules import PROMPT, takes_subject, with_subject

Asked = GenerationRequest | QuoteRequest


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made: a model with all of its input, and the theme that it came from."""

    model: str
    content: dict[str, Any]
    theme: str | None = None


class Themes:
    """Themes by name, in the order of the document; featured ones are shown first."""

    def __init__(self, document: Document, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._themes = {theme.theme: theme for theme in _shown(document)}

    def themes(self, switches: Switches = UNTOUCHED) -> tuple[Theme, ...]:
        """All of them as they are offered now; what cannot be had comes last."""
        offered = [self._offered(theme, switches) for theme in self._themes.values()]
        return tuple(sorted(offered, key=lambda theme: (not theme.available, not theme.featured)))

    def wish(self, asked: Asked) -> Wish:
        """What was asked for, spelled out; whether the model takes it is not judged here. Raises
        `Rejected`."""
        if asked.theme is None:
            return _without_theme(asked)
        theme = self._themes.get(asked.theme)
        if theme is None:
            raise Rejected(ProblemCode.THEME_NOT_FOUND, theme=asked.theme[:64])
        if not theme.available:
            raise Rejected(
                ProblemCode.MODEL_UNAVAILABLE, model=theme.model, theme=theme.theme, note=None
            )
        if faults := tuple(_faults(theme, asked)):
            raise Rejected(ProblemCode.VALIDATION_FAILED, errors=faults)
        prompt = with_subject(theme.prompt, asked.subject)
        content = {PROMPT: prompt, **theme.settings, **asked.input}
        return Wish(model=theme.model, content=content, theme=theme.theme)

    def _offered(self, theme: Theme, switches: Switches) -> Theme:
        is_model_available = self._catalogue.model(theme.model, switches).available
        return replace(theme, available=theme.available and is_model_available)


def _shown(document: Document) -> Iterator[Theme]:
    """As the catalogue has them, without regard to what became of their models."""
    entries, digest = {entry.model: entry for entry in document.models}, document.digest
    for theme in document.themes:
        entry = entries[theme.model]
        content = {**default_input(entry), **theme.settings}
        yield Theme(
            theme=theme.theme,
            title=theme.title,
            description=theme.description,
            model=theme.model,
            kind=entry.kind,
            prompt=theme.prompt,
            settings=theme.settings,
            takes_subject=takes_subject(theme.prompt),
            price=price(document.priced(entry, digest), content).total,
            featured=theme.featured,
            available=theme.available,
        )


def _without_theme(asked: Asked) -> Wish:
    faults = []
    if asked.model is None:
        faults.append(FieldError("/model", "Object missing required field `model`"))
    if asked.subject is not None:
        faults.append(FieldError("/subject", "goes with a theme, and none is named"))
    if asked.model is None or faults:
        raise Rejected(ProblemCode.VALIDATION_FAILED, errors=tuple(faults))
    return Wish(model=asked.model, content=asked.input)


def _faults(theme: Theme, asked: Asked) -> Iterator[FieldError]:
    if asked.model not in {None, theme.model}:
        yield FieldError("/model", "the theme is for another model")
    has_own_prompt = PROMPT in asked.input
    if asked.subject is not None and (has_own_prompt or not theme.takes_subject):
        yield FieldError("/subject", "the prompt has no place for it")
    if asked.subject is None and theme.takes_subject and not has_own_prompt:
        yield FieldError("/subject", "the theme needs one")
