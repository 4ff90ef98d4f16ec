"""The house rules that a linter does not know, as tests: they fail the moment one is broken."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import dev

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("contracts", "ledger_service", "job_worker", "deploy", "tests")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
"""Most functions stay below 35; this is where reading certainly ends."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(*packages: str) -> list[Path]:
    """All Python files of these packages."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    """All functions and methods of one file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def where(path: Path, line: int = 1) -> str:
    """A place, as editors understand it."""
    return f"{path.relative_to(ROOT)}:{line}"


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    """A module of ours has fewer than 400 lines; tests may be longer."""
    sources = modules(*(package for package in PACKAGES if package != "tests"))
    lengths = {where(path): path.read_text().count("\n") for path in sources}
    assert {place: n for place, n in lengths.items() if n >= MODULE_LINES_MAX} == {}


def test_no_function_is_too_long_to_be_understood() -> None:
    """No function, test or not, has more than 60 lines."""
    long = [
        f"{where(path, node.lineno)} {node.name}"
        for path in modules(*PACKAGES)
        for node in functions(path)
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_test_states_its_rule() -> None:
    """A test begins with one sentence that says what must hold."""
    silent = [
        f"{where(path, node.lineno)} {node.name}"
        for path in modules("tests")
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_test_looks_away() -> None:
    """Nothing is skipped and nothing is expected to fail: what is missing fails."""
    excuse = re.compile(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail)\b")
    found = [
        where(path, number)
        for path in modules("tests")
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if excuse.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["bootstrap", *dev.SETS])
def test_locks_hold_versions_and_hashes_only(name: str) -> None:
    """Every requirement is pinned and hashed, and no lock says where packages come from."""
    text = (ROOT / "deploy" / "requirements" / f"{name}.txt").read_text()
    entries = [
        entry for entry in re.split(r"\n(?=[a-z])", text) if not entry.startswith((" ", "#"))
    ]
    assert entries
    assert all(re.match(r"[\w.-]+==\S+", entry) for entry in entries)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|index-url|find-links|^-e ", text, re.MULTILINE)


def test_the_locks_agree() -> None:
    """What `run.txt` locks, every larger environment has as well."""
    folder = ROOT / "deploy" / "requirements"

    def locked(file: Path) -> set[str]:
        return set(re.findall(r"^([\w.-]+)==", file.read_text(), re.MULTILINE))

    run = locked(folder / "run.txt")
    assert run
    for file in folder.glob("*.txt"):
        if file.name != "bootstrap.txt":
            assert run <= locked(file), file.name


def test_every_dependency_has_a_reason() -> None:
    """A line in a list of requirements says what it is for."""
    lines = [
        line
        for path in sorted((ROOT / "deploy" / "requirements").glob("*.in"))
        for line in path.read_text().splitlines()
        if path.stem != "bootstrap" and not line.startswith(("#", "-r"))
    ]
    assert lines
    assert [line for line in lines if " # " not in line] == []


def test_the_developers_script_needs_nothing_but_python() -> None:
    """`deploy/dev.py help` runs without any installed package and lists every target."""
    bare = [sys.executable, "-I", "-S", str(ROOT / "deploy" / "dev.py"), "help"]
    done = subprocess.run(bare, capture_output=True, text=True, check=True)
    assert [name for name in dev.TARGETS if f"  {name} " not in done.stdout] == []


def test_make_and_the_script_offer_the_same_targets() -> None:
    """`make X` and `python3 deploy/dev.py X` are the same for every X."""
    makefile = (ROOT / "Makefile").read_text()
    listed = re.search(r"^TARGETS := (.+)$", makefile, re.MULTILINE)
    assert listed is not None
    assert listed[1].split() == list(dev.TARGETS)
