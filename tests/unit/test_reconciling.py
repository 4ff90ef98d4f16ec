"""Comparing ledger, provider and storage: what is drift, and what only looks like it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.api.log import Event
from contracts.reconciling import Drift, Report
from job_worker.errors import SideUnreadable
from job_worker.providers.port import Listed
from job_worker.reconciling.books import Books
from job_worker.reconciling.comparing import Sides, StoredFile, Window, compare

START = datetime(2030, 1, 31, tzinfo=UTC)
WINDOW = Window(since=START, until=START + timedelta(hours=1))
NOW = START + timedelta(minutes=10)
KEY = "gen_1/att_1-0.mp4"
ASSET = {"key": KEY, "size_bytes": 9, "content_type": "video/mp4", "sha256": "0"}


class Log:
    """A log in the making, of one generation."""

    def __init__(self, at: datetime = NOW) -> None:
        self.books = Books()
        self.at = at

    def add(self, topic: str, generation_id: str = "gen_1", **data: Any) -> Log:
        """One more event."""
        event = Event(
            log="main", position=self.books.events + 1, stream=f"demo/ann/{generation_id}",
            version=1, topic=f"{topic}.v1", recorded_at=self.at, actor=None, data=data,
            idempotency_key=None, last_of_command=True,
        )  # fmt: skip
        self.books.add(event)
        return self

    def submitted(self) -> Log:
        """Requested, and at the provider as `req-1`."""
        self.add("generation_requested", model="boats", price=20)
        self.add("submission_started", attempt_id="att_1", number=1)
        return self.add("generation_submitted", attempt_id="att_1", request_id="req-1")

    def succeeded(self, **more: Any) -> Log:
        """And delivered."""
        return self.submitted().add("generation_succeeded", attempt_id="att_1", asset=ASSET, **more)


def request(request_id: str = "req-1", **fields: Any) -> Listed:
    """A request that the provider answered with a result."""
    usual: dict[str, Any] = {"sent_at": NOW, "ended_at": NOW, "status_code": 200}
    usual |= {"generation_id": "gen_1", "attempt_id": "att_1"}
    return Listed(request_id=request_id, endpoint="acme/boats", **{**usual, **fields})


def compared(
    log: Log,
    *requests: Listed,
    files: dict[str, datetime] | None = None,
    before: Log | None = None,
    marks: dict[str, str] | None = None,
    complete: bool = True,
) -> Report:
    """The report; `before` is what the log said before the others were read."""
    sides = Sides(
        read_at=NOW,
        known_before=(before or log).books.known(),
        books=log.books,
        requests={each.request_id: each for each in requests},
        files={key: StoredFile(size_bytes=9, modified_at=at) for key, at in (files or {}).items()},
        marks=marks or {},
        listing_complete=complete,
    )
    return compare(sides, WINDOW, 10)


def drifts(report: Report) -> list[Drift]:
    """What was found, each once."""
    return [finding.drift for finding in report.findings]


STORED = {KEY: NOW}


def test_the_same_story_three_times_is_no_drift() -> None:
    """One attempt, one request, one file."""
    report = compared(Log().succeeded(), request(), files=STORED)
    assert not report.drifts
    counts = (report.generations, report.attempts, report.requests, report.files)
    assert counts == (1, 1, 1, 1)


def test_what_lies_outside_the_window_is_not_judged() -> None:
    """Neither earlier requests and files of nobody, nor successes whose file is gone."""
    earlier = START - timedelta(seconds=1)
    stray = request("req-9", attempt_id="att_9", sent_at=earlier)
    log = Log(at=earlier).succeeded()
    assert not compared(log, stray, files={"stray.mp4": earlier}).drifts
    assert not compared(Log(at=WINDOW.until).succeeded()).drifts


def test_what_is_under_way_is_no_drift() -> None:
    """What the log got only after the other sides were read may be missing there, and the file of
    a generation that has not ended may be there already."""
    assert not compared(Log().succeeded(), before=Log()).drifts
    assert not compared(Log().submitted(), request(status_code=None), files=STORED).drifts
    removed = Log().succeeded().add("media_removed")
    assert not compared(removed, request(), files=STORED, before=Log().succeeded()).drifts


def test_media_that_are_over_may_be_gone() -> None:
    """Deleted, removed, or kept long enough: their files go before that is recorded."""
    for log in (
        Log().succeeded().add("generation_deleted"),
        Log().succeeded().add("media_removed"),
        Log().succeeded(media_until=NOW.isoformat()),
    ):
        assert not compared(log, request()).drifts
    kept = Log().succeeded(media_until=(NOW + timedelta(seconds=1)).isoformat())
    assert drifts(compared(kept, request())) == [Drift.MISSING_FILE]


def test_a_thumbnail_is_a_file_of_its_result() -> None:
    """It is nobody else's, and its loss is told like the loss of the result itself."""
    small = {"key": "gen_1/att_1-0-small.jpeg", "size_bytes": 9, "content_type": "image/jpeg"}
    log = Log().submitted()
    asset = ASSET | {"thumbnail": small}
    log.add("generation_succeeded", attempt_id="att_1", asset=asset)
    assert not compared(log, request(), files={**STORED, str(small["key"]): NOW}).drifts
    assert drifts(compared(log, request(), files=STORED)) == [Drift.MISSING_FILE]


def test_a_mark_tells_whose_a_request_is_where_there_are_no_tags() -> None:
    """With neither, nobody can tell: such requests are counted apart."""
    bare = request(generation_id=None, attempt_id=None, mark="77")
    other = request("req-x", generation_id=None, attempt_id=None, mark="77")
    by_seed = compared(Log().submitted(), bare, other, marks={"77": "att_1"})
    assert drifts(by_seed) == [Drift.REPEATED_SUBMIT]
    foreign = compared(Log(), bare)
    assert (foreign.drifts, foreign.unmarked) == (False, 1)


def test_a_failure_that_the_provider_calls_one_costs_nothing() -> None:
    """A refund is drift only if something was made, or may still be."""
    failed = Log().submitted().add("generation_failed", attempt_id="att_1", reason="422")
    assert not compared(failed, request(status_code=422)).drifts
    for costly in (request(), request(status_code=None, ended_at=None)):
        assert drifts(compared(failed, costly)) == [Drift.REFUNDED_REQUEST]


def test_a_late_success_is_told_once() -> None:
    """It was booked: that the request was refunded as well needs no second line."""
    late = Log().submitted().add("generation_expired", attempt_id="att_1", reason="deadline")
    late.add("late_fact_recorded", attempt_id="att_1", fact="succeeded")
    assert drifts(compared(late, request())) == [Drift.LATE_SUCCESS]


def test_leftovers_of_a_generation_are_foreign() -> None:
    """A file that is not in the result, or of a generation without one."""
    leftover = {**STORED, "gen_1/att_1-9.mp4": NOW}
    assert drifts(compared(Log().succeeded(), request(), files=leftover)) == [Drift.FOREIGN_FILE]
    failed = Log().submitted().add("generation_failed", attempt_id="att_1", reason="x")
    found = compared(failed, request(status_code=422), files=STORED)
    assert drifts(found) == [Drift.FOREIGN_FILE]


def test_absence_proves_something_only_in_a_complete_listing() -> None:
    """Elsewhere an attempt that is not listed is counted and no drift."""
    assert drifts(compared(Log().submitted())) == [Drift.UNLISTED_ATTEMPT]
    report = compared(Log().submitted(), complete=False)
    assert (report.drifts, report.unconfirmed) == (False, 1)


def test_an_event_that_is_not_what_it_says_makes_the_ledger_unreadable() -> None:
    """Rather no comparison than one that overlooks something."""
    with pytest.raises(SideUnreadable, match=r"generation_submitted\.v1 at position 1"):
        Log().add("generation_submitted", attempt_id="att_1")
