"""The admin page: what really happened, readable by people and programs, and its switches."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from deploy.emulators.fal.directives import KNOWN
from tests.fixtures.fal_emulator import Emulator, running


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider whose jobs end at once, on a clock of its own."""
    options = ("--job-seconds", "0", "--clock", "virtual", "--concurrency", "100")
    with running(tmp_path_factory.mktemp("fal"), *options) as emulator:
        yield emulator


class Page(HTMLParser):
    """What a browser makes of the page: marked lines, forms, and anything it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.marked: list[str] = []
        self.forms: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """The parser's hook."""
        given = dict(attrs)
        if tag == "tr" and given.get("class"):
            self.marked.append(str(given["class"]))
        if tag == "form":
            self.forms.append(str(given["action"]))
        if tag in {"script", "link", "img", "iframe"} or "src" in given:
            self.loads.append(tag)

    def handle_data(self, data: str) -> None:
        """The parser's hook."""
        self.text.append(data)


def page(fal: Emulator) -> Page:
    """The page, read."""
    answer = fal.http.get("/admin")
    assert answer.headers["content-type"].startswith("text/html")
    return Page(answer.text)


def state(fal: Emulator) -> dict[str, Any]:
    """The same as JSON."""
    told: dict[str, Any] = fal.http.get("/admin/state").json()
    return told


def test_a_double_submit_stands_out(fal: Emulator) -> None:
    """Equal tags mark a repeated submit, an equal generation a second attempt."""
    fal.http.post("/admin/reset")
    for tags in ("generation=g1,attempt=a1", "generation=g1,attempt=a1"):
        fal.submit("twice", headers={"x-fal-tags": tags})
    for tags in ("generation=g2,attempt=a1", "generation=g2,attempt=a2"):
        fal.submit("tried again", headers={"x-fal-tags": tags})
    fal.submit("alone", headers={"x-fal-tags": "generation=g3,attempt=a1"})
    fal.submit("nameless")
    fal.submit("nameless")
    assert page(fal).marked == ["again", "again", "double", "double"]
    counted = {
        job["prompt"]: (job["with_same_tags"], job["of_same_generation"])
        for job in state(fal)["jobs"]
    }
    assert counted == {
        "twice": (2, 2), "tried again": (1, 2), "alone": (1, 1), "nameless": (1, 1),
    }  # fmt: skip


def test_every_submit_is_counted_even_those_that_were_refused(fal: Emulator) -> None:
    """Asked, accepted, and for the others the answer they got."""
    fal.http.post("/admin/reset")
    fal.submit("fine")
    fal.post("[[fal:submit-503]]")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        fal.post("[[fal:drop-submit]]")
    told = state(fal)["submits"]
    assert (told["asked"], told["accepted"]) == (3, 1)
    assert [row["refused"] for row in told["newest"]] == [None, 503, None]
    shown = "".join(page(fal).text)
    assert "3 submits, 1 of them accepted." in shown
    assert "no answer" in shown


def test_the_page_shows_all_there_is_and_loads_nothing(fal: Emulator) -> None:
    """Jobs, webhooks, balances, clock, outage and directives, without a script or a style sheet."""
    fal.submit("hooked", params={"fal_webhook": "http://10.0.0.1/x"})
    shown = page(fal)
    text = "".join(shown.text)
    assert shown.loads == []
    assert set(shown.forms) == {
        "/admin/clock", "/admin/outage", "/admin/balance", "/admin/reset",
    }  # fmt: skip
    told = state(fal)
    for part in (
        told["clock"]["now"],
        told["accounts"][0]["user_id"],
        told["jobs"][0]["request_id"],
    ):
        assert part in text
    assert [name for name in KNOWN if f"[[fal:{name}]]" not in text] == []


def test_a_form_of_the_page_leads_back_to_it(fal: Emulator) -> None:
    """A browser's call works like a program's, and ends on the page again."""
    before = state(fal)["clock"]["now"]
    moved = fal.http.post("/admin/clock", data={"advance_seconds": "60"})
    assert (moved.status_code, moved.headers["location"]) == (303, "/admin")
    assert state(fal)["clock"]["now"] > before
    out = fal.http.post("/admin/outage", data={"seconds": "30", "mode": "page"})
    assert out.status_code == 303
    assert "page until" in "".join(page(fal).text)
    fal.http.post("/admin/outage", data={"seconds": "0"})
    assert state(fal)["outage"] is None


@pytest.mark.parametrize("call", ["reset", "clock", "outage", "balance"])
def test_another_sites_page_cannot_use_the_switches(fal: Emulator, call: str) -> None:
    """A browser says where a form came from; only our own page may post."""
    headers = {"sec-fetch-site": "cross-site"}
    before = state(fal)
    answer = fal.http.post(
        f"/admin/{call}", data={"advance_seconds": 1, "seconds": 1, "usd": 1}, headers=headers
    )
    assert answer.status_code == 403
    assert state(fal) == before


@pytest.mark.parametrize("usd", [None, "rich", 1e10, -1e10])
def test_a_balance_is_a_number_within_reason(fal: Emulator, usd: Any) -> None:
    """Nonsense changes nothing."""
    before = state(fal)["accounts"]
    assert fal.http.post("/admin/balance", json={"usd": usd}).status_code == 422
    assert state(fal)["accounts"] == before
