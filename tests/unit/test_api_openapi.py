"""The API's description is complete, and the snapshot that others build on is up to date."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec

from ledger_service.api.openapi import openapi_document
from ledger_service.api.operations import operations
from ledger_service.api.problem_details import KINDS
from ledger_service.api.reference_page import reference_page
from ledger_service.app import CONTROLLERS

SNAPSHOT = Path(__file__).resolve().parents[2] / "contracts" / "openapi.json"


def document() -> dict[str, Any]:
    """The document as it is served."""
    served = msgspec.json.encode(openapi_document(operations(CONTROLLERS)))
    parsed: dict[str, Any] = json.loads(served)
    return parsed


def references(node: Any) -> set[str]:
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def test_the_snapshot_is_up_to_date() -> None:
    """Every change of the API shows in it; `python -m tests.unit.test_api_openapi` writes it."""
    assert json.loads(SNAPSHOT.read_text()) == document()


def test_every_reference_leads_somewhere() -> None:
    """No `$ref` of the document points at nothing."""
    made = document()
    known = {
        f"#/components/{kind}/{name}"
        for kind, components in made["components"].items()
        for name in components
    }
    assert references(made) <= known


def test_every_operation_tells_its_problems() -> None:
    """Each operation says what it answers with, under the statuses that it really uses."""
    for methods in document()["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["description"]
            assert {"400", "500"} <= set(operation["responses"])
            if operation["security"]:
                assert {"401", "403", "503"} <= set(operation["responses"])


def test_every_problem_has_an_example() -> None:
    """The examples are whole problem documents."""
    examples = document()["components"]["examples"]
    assert set(examples) == {str(code) for code in KINDS}
    for code, example in examples.items():
        assert example["value"]["code"] == code
        assert {"type", "title", "status", "detail", "instance"} <= set(example["value"])


class Links(HTMLParser):
    """Collects ids, links and whatever would load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "a":
            self.links.add(found.get("href") or "")
        if tag in {"script", "link", "img", "iframe"} or "src" in found:
            self.foreign.append(tag)


def test_the_page_stands_alone_and_links_within() -> None:
    """It loads nothing, runs nothing, and every link in it has a target."""
    page = Links()
    page.feed(reference_page(document()))
    assert page.foreign == []
    within = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert within <= page.ids
    assert page.links - {f"#{name}" for name in within} == {"/schema/openapi.json"}


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")
