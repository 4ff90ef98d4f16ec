"""Recurring grants, alerts, spend limits, policies and explanations, over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.limits import TENANT_GENERATIONS_IN_FLIGHT_MAX
from tests.fixtures.books import Book
from tests.fixtures.live import LiveLedger, expect
from tests.fixtures.tenants import new_tenant

pytestmark = pytest.mark.slow

PLAN: dict[str, Any] = {
    "schedule_id": "plan-pro",
    "amount": 500,
    "unit": "month",
    "starts_at": "2100-01-31T09:00:00+01:00",
    "time_zone": "Europe/Vienna",
    "rollover_cap": 250,
    "reference": "subscription-9",
}


def ago(**span: float) -> str:
    """An instant of the past."""
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def test_a_schedule_reads_as_it_was_set(ledger: LiveLedger) -> None:
    """With its defaults, in UTC, and with the next of its periods."""
    book = Book(ledger.caller, 1)
    assert book.get("/schedules") == {"schedules": []}
    reply = book.put("/schedules", {"schedules": [PLAN]})
    (schedule,) = reply["schedules"]
    assert {name: schedule[name] for name in PLAN} == PLAN | {"starts_at": "2100-01-31T08:00:00Z"}
    assert (schedule["next_period"], schedule["next_at"]) == (0, "2100-01-31T08:00:00Z")
    assert (schedule["every"], schedule["source"], schedule["priority"]) == (1, "subscription", 50)
    assert (schedule["expires_after_periods"], schedule["ends_at"]) == (1, None)
    assert book.get("/schedules", min_position=reply["position"]) == {"schedules": [schedule]}
    assert reply["account"] == book.get("")


def test_what_is_due_is_granted_at_once(ledger: LiveLedger) -> None:
    """All periods since the beginning, those that are over included; setting the same again
    grants nothing more."""
    book = Book(ledger.caller, 1)
    daily = {"schedule_id": "daily", "amount": 10, "unit": "day", "starts_at": ago(days=2, hours=1)}
    reply = book.put("/schedules", {"schedules": [daily]})
    assert (reply["schedules"][0]["next_period"], reply["account"]["balance"]["posted"]) == (3, 11)
    again = book.put("/schedules", {"schedules": [daily]})
    assert (again["schedules"], again["account"]["balance"]["posted"]) == (reply["schedules"], 11)
    grants = [grant for grant in book.get("/grants")["items"] if grant["source"] == "subscription"]
    assert [grant["remaining"] for grant in grants] == [10, 0, 0]
    more = book.put("/schedules", {"schedules": [{**daily, "amount": 20}]})
    assert more["schedules"][0]["next_period"] == 3
    assert book.put("/schedules", {"schedules": []})["schedules"] == []
    entry = book.get("/entries", type="credits_granted")["items"][0]
    assert (entry["details"]["schedule_id"], entry["details"]["period"]) == ("daily", 2)


WRONG_SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("/schedules/0/time_zone", {"time_zone": "Mars/Olympus"}),
    ("/schedules/0/time_zone", {"time_zone": "../../etc/passwd"}),
    ("/schedules/0/time_zone", {"time_zone": ""}),
    ("/schedules/0/unit", {"unit": "second"}),
    ("/schedules/0/every", {"every": 0}),
    ("/schedules/0/amount", {"amount": 0}),
    ("/schedules/0/starts_at", {"starts_at": "1999-12-31T23:59:59Z"}),
    ("/schedules/0/starts_at", {"starts_at": "9999-12-31T23:59:59-12:00"}),
    ("/schedules/0/ends_at", {"ends_at": PLAN["starts_at"]}),
    ("/schedules/0/schedule_id", {"schedule_id": "a/b"}),
    ("/schedules/0/schedule_id", {"schedule_id": "a\n"}),
    ("/schedules/0/schedule_id", {"schedule_id": "x" * 65}),
    ("/schedules/0/rollover_cap", {"rollover_cap": -1}),
    ("/schedules/0/expires_after_periods", {"expires_after_periods": 0}),
    ("/schedules/0/next_period", {"next_period": 7}),
]


@pytest.mark.parametrize(("pointer", "fields"), WRONG_SCHEDULES, ids=range(len(WRONG_SCHEDULES)))
def test_a_wrong_schedule_is_pointed_at(
    ledger: LiveLedger, pointer: str, fields: dict[str, Any]
) -> None:
    """Unknown time zones, impossible times and foreign fields change nothing."""
    book = Book(ledger.caller, 1)
    problem = book.put("/schedules", {"schedules": [PLAN | fields]}, 400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert book.get("/schedules") == {"schedules": []}


def test_lists_of_terms_have_bounds_and_no_twins(ledger: LiveLedger) -> None:
    """20 schedules, 10 levels, 20 limits; each id once."""
    book = Book(ledger.caller, 1)
    limit = {"amount": 5}
    cases: list[tuple[str, str, list[Any], int]] = [
        ("/schedules", "schedules", [PLAN | {"schedule_id": f"s{n}"} for n in range(21)], 20),
        ("/thresholds", "low_balance", list(range(11)), 10),
        ("/limits", "limits", [limit | {"limit_id": f"l{n}"} for n in range(21)], 20),
    ]
    for path, name, items, most in cases:
        assert book.put(path, {name: items}, 400)["errors"][0]["pointer"] == f"/{name}"
        twins = book.put(path, {name: [items[0], items[0]]}, 400)
        assert "twice" in twins["errors"][0]["detail"]
        book.put(path, {name: items[:most]})


def test_schedules_of_far_times_do_no_harm(ledger: LiveLedger) -> None:
    """At the end of the calendar there is no next period."""
    book = Book(ledger.caller, 1)
    late = PLAN | {"starts_at": "9999-12-31T00:00:00Z", "unit": "year", "every": 1000}
    (schedule,) = book.put("/schedules", {"schedules": [late]})["schedules"]
    assert schedule["next_at"] == "9999-12-31T00:00:00Z"


def test_alerts_are_events(ledger: LiveLedger) -> None:
    """Crossing a level either way is told once, and so is what expires soon."""
    book = Book(ledger.caller, 100)
    book.put("/thresholds", {"low_balance": [200, 50], "expiry_notice_seconds": 3600})
    assert book.get("/thresholds") == {
        "low_balance": [200, 50],
        "expiry_notice_seconds": 3600,
        "below": [200],
    }
    book.debit(60)
    book.debit(1)
    book.grant(30, expires_at=(datetime.now(UTC) + timedelta(minutes=30)).isoformat())
    book.debit(1)
    crossed = book.get("/entries", type="threshold_crossed")["items"]
    told = [(entry["details"]["level"], entry["details"]["below"]) for entry in crossed]
    assert told == [(50, False), (50, True)]
    (coming,) = book.get("/entries", type="expiry_coming")["items"]
    assert coming["details"]["lots"][0]["amount"] == 30
    book.put("/thresholds", {})
    assert book.get("/thresholds")["below"] == []


def test_a_spend_limit_tells_its_numbers(ledger: LiveLedger) -> None:
    """Debits and holds count together; what comes back is given back; 402 says until when."""
    book = Book(ledger.caller, 1000)
    limit = {"limit_id": "daily", "amount": 100, "window": "day"}
    book.put("/limits", {"limits": [limit]})
    debit_id, hold_id = book.debit(40), book.hold(50)
    problem = book.post("/debits", {"amount": 11, "reason": "x"}, 402)
    told = {name: problem[name] for name in ("code", "limit_id", "limit", "used", "required")}
    assert told == {
        "code": "spend_limit_reached",
        "limit_id": "daily",
        "limit": 100,
        "used": 90,
        "required": 11,
    }
    midnight = datetime.now(UTC).date() + timedelta(days=1)
    assert problem["resets_at"] == f"{midnight}T00:00:00Z"
    (shown,) = book.get("/limits")["limits"]
    assert (shown["used"], shown["by_key"], shown["resets_at"]) == (90, [], problem["resets_at"])
    book.post(f"/holds/{hold_id}/release", {})
    book.caller.refund(book.account_id, debit_id, amount=15)
    assert book.get("/limits")["limits"][0]["used"] == 25
    book.post("/adjustments", {"amount": 500, "direction": "debit", "reason": "x"}, 201)
    assert book.get("/limits")["limits"][0]["used"] == 25
    raised = book.put("/limits", {"limits": [limit | {"amount": 200}]})
    assert raised["limits"][0]["used"] == 25
    assert book.put("/limits", {"limits": []})["limits"] == []


def test_a_limit_may_be_for_each_key_or_for_one(ledger: LiveLedger) -> None:
    """A key's spends count for that key alone; generations count as well."""
    book = Book(ledger.caller, 1000)
    body = {"name": "bot", "scopes": ["spend", "read"]}
    made = expect(201, ledger.caller.post("/v1/keys", body))
    bot, bot_id = ledger.holder_of(made["secret"]), made["key"]["key_id"]
    each = {"limit_id": "each", "amount": 60, "window": "month", "per_key": True}
    only = {"limit_id": "only", "amount": 30, "window": "lifetime", "key_id": bot_id}
    book.put("/limits", {"limits": [each, only]})
    book.debit(50)
    spend = {"amount": 25, "reason": "x"}
    expect(201, bot.post(f"{book.path}/debits", spend))
    refused = expect(402, bot.post(f"{book.path}/debits", {**spend, "amount": 6}))
    assert (refused["limit_id"], refused["resets_at"]) == ("only", None)
    asked = {"account_id": book.account_id, "model": "veo-3.1-lite", "input": {"prompt": "x"}}
    assert expect(402, ledger.caller.post("/v1/generations", asked))["limit_id"] == "each"
    first, second = book.get("/limits")["limits"]
    assert (first["used"], second["used"]) == (75, 25)
    assert {usage["key_id"]: usage["used"] for usage in first["by_key"]}[bot_id] == 25
    both = [each | {"key_id": bot_id}]
    problem = book.put("/limits", {"limits": both}, 400)
    assert problem["errors"][0]["pointer"] == "/limits/0/key_id"


def test_a_policy_is_as_shipped_until_it_is_set(ledger: LiveLedger) -> None:
    """Then it holds for that tenant alone, as a whole: what is left out has its default."""
    mine, theirs = new_tenant(ledger), new_tenant(ledger)
    shipped = expect(200, mine.get("/v1/policies"))
    assert shipped == {
        "version": 0,
        "changed_at": None,
        "grace_seconds": 604_800,
        "repay_debt": True,
        "expires_after_seconds": {},
        "promotional_first": False,
        "hold_ttl_seconds": 900,
        "limits": [],
        "media_retention_seconds": None,
        "generations_in_flight_max": None,
        "tenant_generations_in_flight_max": None,
        "generations_per_day_max": None,
        "tenant_generations_per_day_max": None,
    }
    body = {
        "grace_seconds": 0,
        "repay_debt": False,
        "expires_after_seconds": {"promo": 3600},
        "promotional_first": True,
        "hold_ttl_seconds": 60,
        "limits": [{"limit_id": "all", "amount": 9, "window": "day"}],
        "tenant_generations_in_flight_max": 50,
    }
    for wrong in (0, TENANT_GENERATIONS_IN_FLIGHT_MAX + 1):
        terms = {"tenant_generations_in_flight_max": wrong}
        expect(400, mine.http.put("/v1/policies", json=terms))
    reply = expect(200, mine.http.put("/v1/policies", json=body))
    assert reply["policy"]["version"] == 1
    read = expect(200, mine.get("/v1/policies", min_position=reply["position"]))
    assert read == reply["policy"]
    assert {name: read[name] for name in body if name != "limits"} == {
        name: value for name, value in body.items() if name != "limits"
    }
    assert read["limits"] == [
        {"limit_id": "all", "amount": 9, "window": "day", "per_key": False, "key_id": None}
    ]
    assert expect(200, theirs.get("/v1/policies")) == shipped
    reset = expect(200, mine.http.put("/v1/policies", json={}))["policy"]
    assert (reset["version"], reset["grace_seconds"]) == (2, 604_800)


def test_a_policy_decides_what_requests_leave_open(ledger: LiveLedger) -> None:
    """An end that is left out is the policy's, null is never; the same goes for holds."""
    caller = new_tenant(
        ledger,
        expires_after_seconds={"promo": 3600},
        hold_ttl_seconds=60,
        limits=[{"limit_id": "all", "amount": 9, "window": "day"}],
    )
    book = Book(caller)
    absent = book.caller.grant(book.account_id, 5)["grant"]
    lasting = datetime.fromisoformat(absent["expires_at"]) - datetime.fromisoformat(
        absent["effective_at"]
    )
    assert lasting == timedelta(hours=1)
    assert book.caller.grant(book.account_id, 5, expires_at=None)["grant"]["expires_at"] is None
    paid = book.caller.grant(book.account_id, 5, source="purchase")["grant"]
    assert paid["expires_at"] is None
    late = book.caller.grant(book.account_id, 5, effective_at="9999-12-31T23:30:00Z")["grant"]
    assert late["expires_at"] is None
    hold = book.post("/holds", {"amount": 1, "reason": "x"}, 201)["hold"]
    lasting = datetime.fromisoformat(hold["expires_at"]) - datetime.fromisoformat(
        hold["created_at"]
    )
    assert lasting == timedelta(minutes=1)
    limits = book.get("/limits")
    assert (limits["from_policy"], limits["limits"][0]["used"]) == (True, 1)
    assert book.post("/debits", {"amount": 9, "reason": "x"}, 402)["limit_id"] == "all"


@pytest.mark.parametrize(
    ("pointer", "fields"),
    [
        ("/grace_seconds", {"grace_seconds": -1}),
        ("/grace_seconds", {"grace_seconds": 1.5}),
        ("/hold_ttl_seconds", {"hold_ttl_seconds": 604_801}),
        ("/expires_after_seconds/...", {"expires_after_seconds": {"promo": 0}}),
        ("/expires_after_seconds", {"expires_after_seconds": {"theft": 5}}),
        ("/limits/0/window", {"limits": [{"limit_id": "a", "amount": 1, "window": "week"}]}),
        ("/grace", {"grace": 5}),
    ],
)
def test_a_wrong_policy_is_pointed_at(
    ledger: LiveLedger, pointer: str, fields: dict[str, Any]
) -> None:
    """Nothing of it takes effect."""
    problem = expect(400, ledger.other.http.put("/v1/policies", json=fields))
    assert problem["errors"][0]["pointer"].startswith(pointer.removesuffix("/..."))
    assert expect(200, ledger.other.get("/v1/policies"))["version"] == 0


def test_an_explanation_is_what_a_spend_then_does(ledger: LiveLedger) -> None:
    """Each grant in its order, with what it would give or why it would not."""
    book = Book(ledger.caller)
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    ids = {
        "all_held": book.grant(10, priority=0),
        "expired": book.grant(1, priority=1, expires_at=soon),
        "not_effective_yet": book.grant(1, priority=2, effective_at="2100-01-01T00:00:00Z"),
    }
    book.hold(10)
    ids["restricted"] = book.grant(20, priority=3, restrict_to=["video"])
    ids["pays"] = book.grant(30, priority=4)
    ids["not_needed"] = book.grant(5, priority=5)
    book.put("/limits", {"limits": [{"limit_id": "daily", "amount": 100}]})
    time.sleep(0.35)
    told = book.get("/explain", amount=30)
    assert {lot["verdict"]: lot["grant_id"] for lot in told["lots"]} == ids
    assert [lot["gives"] for lot in told["lots"]] == [0, 0, 0, 0, 30, 0]
    shown = {name: told[name] for name in ("rule", "would_succeed", "spendable", "held")}
    assert shown == {"rule": "enough", "would_succeed": True, "spendable": 35, "held": 10}
    assert told["limits"][0]["left"] == 100
    with_tags = book.get("/explain", amount=30, tags="video,fast")
    assert [lot["gives"] for lot in with_tags["lots"] if lot["gives"]] == [20, 10]
    spent = book.post("/debits", {"amount": 30, "reason": "x", "tags": ["video", "fast"]}, 201)
    assert [part["amount"] for part in spent["debit"]["lots"]] == [20, 10]


def test_an_explanation_names_the_rule_that_refuses(ledger: LiveLedger) -> None:
    """The same code that the spend itself would get, or that it goes on credit."""
    book = Book(ledger.caller, 10)
    book.credit_limit(5)
    on_credit = book.get("/explain", amount=12)
    assert (on_credit["rule"], on_credit["on_credit"]) == ("credit_limit", 2)
    for amount, rule in ((16, "insufficient_credits"), (15, "credit_limit")):
        assert book.get("/explain", amount=amount)["rule"] == rule
    book.put("/limits", {"limits": [{"limit_id": "tiny", "amount": 3}]})
    assert book.get("/explain", amount=4)["rule"] == "spend_limit_reached"
    book.post("/freeze", {"reason": "x"})
    assert book.get("/explain", amount=1)["rule"] == "account_frozen"
    version = book.get("")["version"]
    book.get("/explain", amount=1)
    assert book.get("")["version"] == version


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"amount": "0"},
        {"amount": "1.5"},
        {"amount": "x"},
        {"amount": "1", "tags": "no blanks"},
        {"amount": "1", "tags": "a,,b"},
        {"amount": "1", "tags": ",".join("abcdefghijklmnopq")},
        {"amount": "1", "dry_run": "true"},
    ],
)
def test_a_wrong_question_is_refused(ledger: LiveLedger, query: dict[str, str]) -> None:
    """An amount is needed; tags are those of a debit."""
    book = Book(ledger.caller, 1)
    assert book.get("/explain", 400, **query)["code"] == "validation_failed"


def test_terms_are_for_accounts_that_are_there(ledger: LiveLedger) -> None:
    """404 for all of them; a closed account takes no recurring grants."""
    nowhere = Book(ledger.caller)
    bodies: dict[str, Any] = {
        "/schedules": {"schedules": []},
        "/thresholds": {},
        "/limits": {"limits": []},
    }
    for path, body in bodies.items():
        assert nowhere.get(path, 404)["code"] == "account_not_found"
        assert nowhere.put(path, body, 404)["code"] == "account_not_found"
    book = Book(ledger.caller, 1)
    book.put("/schedules", {"schedules": [PLAN]})
    book.post("/close", {"reason": "x"})
    assert book.get("/schedules") == {"schedules": []}
    assert book.put("/schedules", {"schedules": [PLAN]}, 409)["code"] == "account_closed"
