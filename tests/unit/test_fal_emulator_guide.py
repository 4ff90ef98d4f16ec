"""The guide to the fal emulator tells what the program can do: no more, no less."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.emulators.fal.__main__ import parser
from deploy.emulators.fal.assumptions import MEANINGS as MEANINGS_OF_OPEN_POINTS
from deploy.emulators.fal.assumptions import choices
from deploy.emulators.fal.directives import KNOWN
from deploy.emulators.fal.outage import MEANINGS

GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "fal-emulator.md").read_text()
HEAD = ["| directive | |", "|---|---|"]
LINE = "| `[[fal:{name}]]` | {meaning} |"


def test_the_guide_lists_every_directive_in_the_programs_own_words() -> None:
    """The table is what `KNOWN` says, line by line."""
    between = re.search(r"<!-- directives -->\n(.*)<!-- /directives -->", GUIDE, re.DOTALL)
    assert between is not None
    lines = HEAD + [LINE.format(name=name, meaning=meaning) for name, meaning in KNOWN.items()]
    assert between[1].splitlines() == lines, "\n".join(lines)


def test_the_guide_lists_every_open_point() -> None:
    """The table is what `MEANINGS` and the choices say, line by line."""
    between = re.search(r"<!-- assumptions -->\n(.*)<!-- /assumptions -->", GUIDE, re.DOTALL)
    assert between is not None
    lines = ["| `--assume` | |", "|---|---|"] + [
        f"| {', '.join(f'`{name}={choice}`' for choice in choices()[name])} | {meaning} |"
        for name, meaning in MEANINGS_OF_OPEN_POINTS.items()
    ]
    assert between[1].splitlines() == lines, "\n".join(lines)


def test_the_guide_lists_every_option() -> None:
    """Each option of the command line stands in the table, and none that it lacks."""
    options = {name for action in parser()._actions for name in action.option_strings}
    documented = set(re.findall(r"`(--[a-z-]+)`", GUIDE.split("## What it does not")[0]))
    assert documented == options - {"-h", "--help"}


def test_the_guide_names_every_kind_of_outage() -> None:
    """One word for each mode."""
    assert [mode for mode in MEANINGS if f"`{mode}`" not in GUIDE] == []
