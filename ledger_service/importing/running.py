"""An import from its file to its report: read and check all of it, send it, compare."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from contracts.client import LedgerUnavailable
from ledger_service.errors import RefusedToStart, Unavailable
from ledger_service.importing.comparing import Comparison, compare
from ledger_service.importing.files import Format, Renames, read_file
from ledger_service.importing.progress import ProgressLine
from ledger_service.importing.remote import Remote
from ledger_service.importing.rows import FIELDS, BadRow, Step, read_step
from ledger_service.importing.sending import (
    REFUSALS_MAX,
    Sender,
    Sent,
    refusal_of,
)
from ledger_service.importing.staging import FAULTS_MAX, Fault, Staging, Totals

REHEARSED_AT_ONCE: Final = 500
"""Rows of one dry run: of so many, commands of any length fit into a body."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be imported, and how. `renames` maps the file's columns to ours."""

    file: Path
    file_format: Format
    renames: Renames
    url: str
    api_key: str
    is_dry_run: bool = False
    resume: bool = False

    @property
    def state(self) -> Path:
        """Where the file is put in order; it is removed when everything is done."""
        suffix = ".import-dry-run" if self.is_dry_run else ".import"
        return self.file.with_name(self.file.name + suffix)

    def fingerprint(self) -> str:
        """What must be the same for a run to go on where another one stopped."""
        status = self.file.stat()
        parts = [status.st_size, status.st_mtime_ns, self.file_format, self.url]
        parts += sorted(self.renames.items())
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. With `faults` nothing was sent. A dry run's `sent` is what would have been
    taken, and its `comparison` the ledger before the import."""

    file: str
    dry_run: bool
    totals: Totals | None
    faults: list[Fault]
    sent: Sent | None = None
    comparison: Comparison | None = None

    @property
    def is_good(self) -> bool:
        """Everything is, or could be, as the file says."""
        if self.faults or self.sent is None or self.comparison is None or self.sent.refused:
            return False
        return self.dry_run or not (self.comparison.different or self.comparison.missing)


async def run_import(plan: Plan) -> Report:
    """Import the file. Raises `RefusedToStart` and `Unavailable`; then the same import may be run
    again, whatever has become of this one."""
    try:
        with Staging(plan.state, plan.fingerprint(), resume=plan.resume) as staging:
            faults = [] if staging.is_resumed else stage(plan, staging)
            if faults:
                return _report(plan, None, faults)
            return await _run_staged(plan, staging)
    except OSError as error:
        raise RefusedToStart(f"{error.filename}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise RefusedToStart(f"{plan.state}: {error}") from None


async def _run_staged(plan: Plan, staging: Staging) -> Report:
    async with Remote(plan.url, plan.api_key) as remote:
        sent = await (_rehearse if plan.is_dry_run else _send)(remote, staging)
        totals = staging.totals()
        line = ProgressLine("comparing", totals.accounts)
        comparison = await compare(remote, staging.balances(), line)
        line.end()
    if plan.is_dry_run or not sent.refused:
        staging.discard()
    return _report(plan, totals, [], sent, comparison)


def stage(plan: Plan, staging: Staging) -> list[Fault]:
    """Read the whole file and check it; the first faults, in order of their lines."""
    faults: list[Fault] = []
    line = ProgressLine("reading", 0)

    def good() -> Iterator[Step]:
        now = datetime.now(UTC)
        for count, row in enumerate(read_file(plan.file, plan.file_format, plan.renames), 1):
            line(count)
            try:
                if isinstance(row.fields, BadRow):
                    raise row.fields
                _check_names(row.fields)
                yield read_step(row.line, row.fields, now)
            except BadRow as bad:
                faults.append(Fault(row.line, str(bad)))
            if len(faults) >= FAULTS_MAX:
                return

    doubled = staging.add(good())
    faults = sorted(faults + doubled, key=lambda fault: fault.line)
    if not faults:
        # A row that is missing for its fault would be missed here too: one kind after the other.
        faults = staging.check()
    if not faults:
        staging.seal()
    line.end()
    return faults[:FAULTS_MAX]


async def _send(remote: Remote, staging: Staging) -> Sent:
    line = ProgressLine("importing", staging.count_open())
    sent = await Sender(remote, staging, line).run()
    line.end()
    return sent


async def _rehearse(remote: Remote, staging: Staging) -> Sent:
    """Ask for every grant in vain. What spends needs the grants before it, which a dry run leaves
    no trace of: there the checks of the file must do."""
    sent = Sent()
    line = ProgressLine("asking", staging.count_open())
    rows = iter(staging.steps(only_open=True))
    while batch := list(itertools.islice(rows, REHEARSED_AT_ONCE)):
        grants = [row for row in batch if row.change > 0 and row.refund_of is None]
        sent.applied += len(batch) - len(grants)
        try:
            commands = [msgspec.Raw(row.command) for row in grants]
            results = await remote.carry_out(commands, dry_run=True) if grants else ()
        except LedgerUnavailable as error:
            raise Unavailable(f"the ledger: {error}") from None
        for row, result in zip(grants, results, strict=True):
            if result.status < 300:
                sent.applied += 1
                continue
            sent.refused += 1
            if len(sent.refusals) < REFUSALS_MAX:
                sent.refusals.append(refusal_of(row, result.body))
        line(sent.applied + sent.refused)
    line.end()
    return sent


def _check_names(fields: dict[str, object]) -> None:
    for name in fields:
        if name not in FIELDS:
            raise BadRow(f"{name}: unknown; rename it, or pass it over with --map {name}=")


def _report(
    plan: Plan,
    totals: Totals | None,
    faults: list[Fault],
    sent: Sent | None = None,
    comparison: Comparison | None = None,
) -> Report:
    return Report(
        file=str(plan.file), dry_run=plan.is_dry_run, totals=totals, faults=faults, sent=sent,
        comparison=comparison,
    )  # fmt: skip
