"""Two providers' words beside each other."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from deploy.check_fal.answers import Answer, Unasked

Verdict = Literal["same", "DIFFERS", "could not be asked"]
WIDTHS: Final = (20, 28, 46, 46)
HEADS: Final = ("", "fact", "fal said", "the emulator says")


class Row(msgspec.Struct, frozen=True):
    """One fact, what was said of it, and whether that is the same."""

    verdict: Verdict
    fact: str
    fal: str
    emulator: str


def compare(
    fal: Mapping[str, Answer | Unasked], emulator: Mapping[str, Answer | Unasked], secret: str
) -> list[Row]:
    """A row for each fact; nothing that is shown holds a part of `secret`."""
    rows = []
    for fact, said in fal.items():
        ours = emulator[fact]
        verdict: Verdict = "could not be asked"
        if isinstance(said, Answer) and isinstance(ours, Answer):
            verdict = "same" if said.gist == ours.gist else "DIFFERS"
        rows.append(Row(verdict, fact, hide(_text(said), secret), _text(ours)))
    return rows


def lines(rows: list[Row]) -> Iterator[str]:
    """The table, ready to be printed."""
    yield from _cells(HEADS)
    yield "-" * (sum(WIDTHS) + 2 * len(WIDTHS))
    for row in rows:
        yield from _cells((row.verdict, row.fact, row.fal, row.emulator))


def hide(text: str, secret: str) -> str:
    """The text without the key, whole or in its two parts."""
    for part in (secret, *secret.split(":")):
        text = text.replace(part, "(key)") if part else text
    return text


def _text(said: Answer | Unasked) -> str:
    return said.text if isinstance(said, Answer) else f"— {said}"


def _cells(texts: tuple[str, ...]) -> Iterator[str]:
    columns = [
        textwrap.wrap(text, width) or [""] for text, width in zip(texts, WIDTHS, strict=True)
    ]
    for number in range(max(map(len, columns))):
        parts = [column[number] if number < len(column) else "" for column in columns]
        padded = [f"{part:<{width}}" for part, width in zip(parts, WIDTHS, strict=True)]
        yield "  ".join(padded).rstrip()
