"""The rows of a file, one after another and never all at once."""

from __future__ import annotations

import csv
import enum
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ledger_service.errors import RefusedToStart
from ledger_service.importing.rows import BadRow, from_text

LINE_MAX_BYTES: Final = 64 * 1024

Renames = Mapping[str, str]
"""The file's own names of columns, and ours; an empty one means that the column is passed over."""


class Format(enum.StrEnum):
    """How a file is written: CSV with a line of names, or one JSON object in each line."""

    CSV = "csv"
    NDJSON = "ndjson"


class FileRow(NamedTuple):
    """A row as it stands in the file; `fields` is why it cannot be read, if it cannot."""

    line: int
    fields: dict[str, Any] | BadRow


def format_of(path: Path, given: str | None) -> Format:
    """The given format, or what the file's name says. Raises `RefusedToStart`."""
    if given is not None:
        return Format(given)
    if path.suffix in {".ndjson", ".jsonl"}:
        return Format.NDJSON
    if path.suffix == ".csv":
        return Format.CSV
    raise RefusedToStart(f"{path}: neither .csv nor .ndjson; say --format")


def read_file(path: Path, file_format: Format, renames: Renames) -> Iterator[FileRow]:
    """The rows with their line numbers. Raises `RefusedToStart` when there is no such file."""
    reader = _csv_rows if file_format is Format.CSV else _ndjson_rows
    try:
        with path.open("rb") as file:
            yield from reader(file, renames)
    except OSError as error:
        raise RefusedToStart(f"{path}: {error.strerror}") from None


def _csv_rows(file: BinaryIO, renames: Renames) -> Iterator[FileRow]:
    # Bytes that are no UTF-8 get through to the check of each text, which names the row.
    text = (line.decode("utf-8", "surrogateescape") for line in _lines(file))
    reader = csv.reader(text, strict=True)
    names: list[str] | None = None
    while True:
        fields: dict[str, Any] | BadRow
        try:
            cells = next(reader)
            if not cells:
                continue
            if names is None:
                names = [_renamed(cell.removeprefix("\ufeff"), renames) for cell in cells]
                if len(wanted := [name for name in names if name]) != len(set(wanted)):
                    raise RefusedToStart("two columns have the same name")
                continue
            fields = from_text(_cells(names, cells))
        except StopIteration:
            return
        except csv.Error as error:
            fields = BadRow(f"not CSV: {error}")
        except BadRow as bad:
            fields = bad
        yield FileRow(reader.line_num, fields)


def _cells(names: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(names):
        raise BadRow(f"{len(cells)} cells under {len(names)} names")
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _ndjson_rows(file: BinaryIO, renames: Renames) -> Iterator[FileRow]:
    for number, line in enumerate(_lines(file), start=1):
        if line.isspace():
            continue
        try:
            yield FileRow(number, _object(line, renames))
        except BadRow as bad:
            yield FileRow(number, bad)


def _object(line: bytes, renames: Renames) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [_renamed(name, renames) for name, _ in pairs]
        found = {name: value for name, (_, value) in zip(names, pairs, strict=True) if name}
        if len(found) != len([name for name in names if name]):
            raise BadRow("a name comes twice")
        return found

    try:
        document = json.loads(line.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadRow("not a JSON object")
    return document


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LINE_MAX_BYTES + 1):
        if len(line) > LINE_MAX_BYTES:
            raise RefusedToStart(f"a line is longer than {LINE_MAX_BYTES} bytes")
        yield line


def _renamed(name: str, renames: Renames) -> str:
    return renames.get(name.strip(), name.strip())
