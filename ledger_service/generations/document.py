"""The catalogue as a document: models with the schemas of their inputs, the price book, and themes.

One JSON file, shipped with the package or named by `CATALOGUE_FILE`. It is judged as a whole
before anything serves: a price that a schema can ask for and the book does not have would be
found out by a customer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from contracts.api.prices import PriceRule
from contracts.limits import MODEL_NOTE_MAX_CHARACTERS
from ledger_service.domain.generation.pricing import MILLIS, Priced
from ledger_service.errors import RefusedToStart
from ledger_service.generations.document_rules import price_faults, schema_faults
from ledger_service.generations.theme_rules import theme_faults

DIGEST_CHARACTERS: Final = 16
FAULTS_MAX: Final = 20
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.\-]{0,63}$(?!\n)")]
Endpoint = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[a-z0-9\-]+(/[a-z0-9.\-]+)+$")]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Description = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Prompt = Annotated[str, msgspec.Meta(min_length=1, max_length=5_000)]
Note = Annotated[str, msgspec.Meta(min_length=1, max_length=MODEL_NOTE_MAX_CHARACTERS)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
"""Millionths of the currency in which the operator counts."""


class BookRule(PriceRule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price rule as the book has it. `unit_cost_micros` is what a unit costs the operator, if
    they want to be kept from selling below it."""

    unit_cost_micros: Micros | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. It is never deleted, only made unavailable: what runs still needs it."""

    model: Name
    title: Title
    kind: Literal["video", "image"]
    description: Description
    provider: Literal["fal"]
    endpoint: Endpoint
    output: Literal["video", "images"]
    price: BookRule
    input_schema: dict[str, Any]
    deadline_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]
    available: bool = True
    deprecated: bool = False
    note: Note | None = None

    @property
    def properties(self) -> dict[str, dict[str, Any]]:
        """The schemas of its inputs by name."""
        found: dict[str, dict[str, Any]] = self.input_schema.get("properties", {})
        return found

    @property
    def defaults(self) -> dict[str, Any]:
        """What the provider takes for inputs that are left out, where the schema says it."""
        return {
            name: schema["default"]
            for name, schema in self.properties.items()
            if "default" in schema
        }


class ThemeEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt with settings over one model. Orders that were made by it do not need it."""

    theme: Name
    title: Title
    description: Description
    model: Name
    prompt: Prompt
    settings: dict[str, Any] = {}
    featured: bool = False
    available: bool = True


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole catalogue. `book` is the version of its prices, to be raised with every change;
    `credit_micros` the least that a sold credit brings in."""

    book: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    credit_micros: Micros | None = None
    models: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1, max_length=500)]
    themes: Annotated[tuple[ThemeEntry, ...], msgspec.Meta(max_length=500)] = ()

    @property
    def digest(self) -> str:
        """The head of the SHA-256 of what it says of models and prices: equal versions of a book
        can be told apart."""
        said = msgspec.structs.asdict(self)
        del said["themes"]  # they change without any price changing
        return hashlib.sha256(_CANONICAL.encode(said)).hexdigest()[:DIGEST_CHARACTERS]

    def priced(self, entry: Entry, digest: str) -> Priced:
        """The entry's rule as prices are made from it. `digest` is that of the document."""
        return Priced(book=self.book, book_digest=digest, rule=entry.price, defaults=entry.defaults)


def load_document(path: str = "") -> Document:
    """The document in a file, or the one that is shipped. Raises `RefusedToStart` with every
    fault."""
    return _read(path) if path else shipped()


@cache
def shipped() -> Document:
    """The catalogue that comes with the package."""
    file = resources.files(__package__) / "catalogue.json"
    return parse_document(file.read_bytes(), file.name)


def parse_document(raw: bytes, name: str) -> Document:
    """A document that has been judged. Raises `RefusedToStart`."""
    try:
        document = msgspec.json.decode(raw, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedToStart(f"catalogue {name}: {error}") from None
    faults = list(_faults(document))
    if faults:
        left = len(faults) - FAULTS_MAX
        more = f"; and {left} more" if left > 0 else ""
        raise RefusedToStart(f"catalogue {name}: " + "; ".join(faults[:FAULTS_MAX]) + more)
    return document


def _read(path: str) -> Document:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise RefusedToStart(f"catalogue {path}: {error.strerror}") from None
    return parse_document(raw, path)


def _faults(document: Document) -> Iterator[str]:
    names = [entry.model for entry in document.models]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} comes twice"
    for entry in document.models:
        yield from (f"{entry.model}: {fault}" for fault in _faults_of(document, entry))
    names = [theme.theme for theme in document.themes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"theme {name} comes twice"
    for theme in document.themes:
        yield from (f"theme {theme.theme}: {fault}" for fault in _faults_of_theme(document, theme))


def _faults_of(document: Document, entry: Entry) -> Iterator[str]:
    faults = list(schema_faults(entry.input_schema))
    if faults:  # prices are told by the schema: without one there is nothing more to say
        yield from faults
        return
    yield from price_faults(entry.price, entry.input_schema, entry.properties)
    if (entry.kind == "image") != (entry.output == "images"):
        yield f"a model of kind {entry.kind} has no output {entry.output}"
    cost, credit = entry.price.unit_cost_micros, document.credit_micros
    if cost is not None and credit is not None:
        earned = entry.price.unit_price_millis * credit
        if earned < cost * MILLIS:
            yield f"sold below cost: a unit costs {cost} micros and earns {earned // MILLIS}"


def _faults_of_theme(document: Document, theme: ThemeEntry) -> Iterator[str]:
    entry = next((entry for entry in document.models if entry.model == theme.model), None)
    if entry is None:
        yield f"there is no model {theme.model}"
    elif not any(schema_faults(entry.input_schema)):  # else that is what has to be mended
        yield from theme_faults(theme.prompt, theme.settings, entry.input_schema)
