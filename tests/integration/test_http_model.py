"""The live HTTP API against a naive model: whatever is asked in whatever order, they agree.

Hypothesis makes up the callers' lives. The model is `NaiveAccount`, written from the law of
credits alone; its seconds are microseconds here. The clock is the real one: a write tells its
instant (`recorded_at`), and a read or a refusal during which a lot starts or ends may be judged
by either side of that instant.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple, TypeVar

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ledger_service.audit.replay import replay
from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import Database, Processes
from tests.properties.naive_model import FOREVER, NaiveAccount

pytestmark = pytest.mark.slow

SECOND = 1_000_000
SOON, LATER = SECOND // 10, 3_600 * SECOND
GRACE = 7 * 86_400 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAGE, FEW = 200, 5

WHO = st.integers(0, 1)
AMOUNT, MUCH = st.integers(1, 20), st.integers(10, 60)
TAGS = st.sets(st.sampled_from(("image", "video")))
WHEN = st.sampled_from((-LATER, SOON, LATER))
PICK = st.integers(0, 999)
TERMS = st.fixed_dictionaries(
    {
        "priority": st.integers(0, 2),
        "source": st.sampled_from(("purchase", "promo", "signup")),
        "unit_cost_micros": st.integers(0, 2),
        "restrict_to": st.sampled_from((set(), {"image"}, {"video"}, {"image", "video"})),
    },
    optional={"effective_at": WHEN, "expires_at": WHEN},
)
LOTS = st.lists(st.tuples(AMOUNT, TERMS), min_size=4, max_size=6)

ALL_THAT_HAPPENS = {
    "account_opened.v1",
    "credit_limit_changed.v1",
    "credits_debited.v1",
    "credits_expired.v1",
    "credits_granted.v1",
    "debit_refunded.v1",
    "lot_derived.v1",
}
OTHER_BODY = {"amount": 61, "source": "promo"}  # nobody in these tests sends it

Answer = TypeVar("Answer")


def clock() -> int:
    """Now, in microseconds. The database has the same clock: it runs on this machine."""
    return time.time_ns() // 1_000


def micros(text: str) -> int:
    """An instant of the API."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> str:
    """An instant as the API takes it."""
    return (EPOCH + timedelta(microseconds=at)).isoformat()


class Sent(NamedTuple):
    """A keyed request, its answer, and the instants between which it was answered."""

    name: str
    path: str
    body: dict[str, Any]
    key: str
    answer: httpx.Response
    since: int
    until: int

    @property
    def is_accepted(self) -> bool:
        """Whether it took effect."""
        return self.answer.status_code == 201

    @property
    def at(self) -> int:
        """The instant at which it took effect."""
        at = micros(self.answer.json()["recorded_at"])
        assert self.since <= at <= self.until
        return at

    @property
    def instants(self) -> tuple[int, int]:
        """A refusal was decided between these."""
        return (self.since, self.until)


class Callers(RuleBasedStateMachine):
    """Two accounts, what callers do to them, and what the model says of it.

    No rule has a precondition: what is accepted may depend on the clock, and what hypothesis
    draws must not.
    """

    ledger: ClassVar[LiveLedger]

    def __init__(self) -> None:
        super().__init__()
        self.api = self.ledger.caller
        self.names = [new_account(), new_account()]
        self.books: dict[str, NaiveAccount] = {}
        self.debits: dict[str, list[str]] = {name: [] for name in self.names}
        self.refunds: dict[str, list[int]] = {name: [] for name in self.names}
        self.accepted: list[Sent] = []
        self.refused: list[Sent] = []
        self.touched: set[str] = set()
        self.events: list[Any] = []
        self.followed = expect(200, self.api.get("/v1/events", after=0, limit=1))["head"]

    # --- what callers do ----------------------------------------------------------------------

    @initialize(lots=LOTS)
    def begin(self, lots: list[tuple[int, dict[str, Any]]]) -> None:
        """One account has lots of many kinds, the other is not open yet."""
        self.grant(0, 10, {})
        for amount, terms in lots:
            self.grant(0, amount, terms)

    @rule(who=WHO, limit=st.integers(0, 40))
    def open(self, who: int, limit: int) -> None:
        """An account opens once."""
        name = self.names[who]
        sent = self._send(name, "/v1/accounts", {"account_id": name, "credit_limit": limit})
        if self._accepts(sent, name not in self.books, 409, "account_exists"):
            self._open(name).limit = limit
            self._agrees(sent)

    @rule(who=WHO, amount=AMOUNT, terms=TERMS)
    def grant(self, who: int, amount: int, terms: dict[str, Any]) -> None:
        """A lot, unless it would be over before it begins. The first one opens the account."""
        name, now = self.names[who], clock()
        body: dict[str, Any] = {"amount": amount, "source": "promo", **terms}
        body["restrict_to"] = sorted(terms.get("restrict_to", ()))
        for field in {"effective_at", "expires_at"} & terms.keys():
            body[field] = instant(now + terms[field])
        self._granted(self._send(name, f"/v1/accounts/{name}/grants", body))

    @rule(who=WHO, amount=AMOUNT | MUCH, tags=TAGS)
    def debit(self, who: int, amount: int, tags: set[str]) -> None:
        """Credits in burn order, or the true numbers."""
        name = self.names[who]
        body = {"amount": amount, "reason": "model", "tags": sorted(tags)}
        self._debited(self._send(name, f"/v1/accounts/{name}/debits", body))

    @rule(pick=PICK, amount=st.none() | AMOUNT)
    def refund(self, pick: int, amount: int | None) -> None:
        """A part of a debit, or all that is left of it; never more."""
        spent = [(name, number) for name in self.names for number in range(len(self.debits[name]))]
        if not spent:
            return
        name, number = spent[pick % len(spent)]
        path = f"/v1/accounts/{name}/debits/{self.debits[name][number]}/refunds"
        body: dict[str, Any] = {"reason": "model"} | ({} if amount is None else {"amount": amount})
        self._refunded(self._send(name, path, body), number)

    def _take_back(self, who: int) -> None:
        name = self.names[who]
        if self.debits[name]:
            path = f"/v1/accounts/{name}/debits/{self.debits[name][-1]}/refunds"
            self._refunded(self._send(name, path, {"reason": "model"}), len(self.debits[name]) - 1)

    @rule(who=WHO, limit=st.integers(0, 40))
    def change_limit(self, who: int, limit: int) -> None:
        """The credit limit may rise, and fall below what is used."""
        name = self.names[who]
        answer = self.api.http.patch(f"/v1/accounts/{name}", json={"credit_limit": limit})
        if name not in self.books:
            assert expect(404, answer)["code"] == "account_not_found"
            return
        self.books[name].expire(micros(expect(200, answer)["recorded_at"]))
        self.books[name].limit = limit
        self.touched.add(name)

    @rule(who=WHO, amount=AMOUNT, spent=AMOUNT)
    def lapse(self, who: int, amount: int, spent: int) -> None:
        """Spend of a lot, let it expire, and take the spend back."""
        self.grant(who, amount, {"priority": 0, "expires_at": SOON})
        self.debit(who, spent, set())
        self.wait()
        self._take_back(who)

    @rule(who=WHO, beyond=st.integers(1, 40))
    def borrow(self, who: int, beyond: int) -> None:
        """Spend beyond the last credit, repay, and take the spend back."""
        self.change_limit(who, 40)
        book = self.books.get(self.names[who])
        self.debit(who, max(1, book.available(clock()) - 40 + beyond if book else 1), set())
        self.grant(who, 20, {})
        self._take_back(who)

    @rule()
    def wait(self) -> None:
        """Until the next lot starts or ends, if that is soon."""
        now = clock()
        ahead = {at - now for book in self.books.values() for at in boundaries(book)}
        time.sleep(min((us for us in ahead if 0 < us <= SOON), default=0) / SECOND)
        self.touched |= self.books.keys()

    # --- what callers repeat ------------------------------------------------------------------

    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """The same again: the first answer byte for byte. Something else under its key: 422."""
        sent = self.accepted[pick % len(self.accepted)]  # there is one since `begin`
        for key in (sent.key, f'"{sent.key}"'):
            answer = self.api.post(sent.path, sent.body, key=key)
            assert (answer.status_code, answer.content) == (201, sent.answer.content)
            assert answer.headers["Idempotent-Replayed"] == "true"
        found = self.api.get(f"/v1/accounts/{sent.name}/commands/{sent.key}")
        assert (found.status_code, found.content) == (201, sent.answer.content)
        other = self.api.post(f"/v1/accounts/{sent.name}/grants", OTHER_BODY, key=sent.key)
        assert expect(422, other)["code"] == "idempotency_key_reused"
        self.touched.add(sent.name)

    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        """A refused request has used no key: sent again, it is judged anew."""
        if not self.refused:
            return
        refused = self.refused.pop(pick % len(self.refused))
        missing = self.api.get(f"/v1/accounts/{refused.name}/commands/{refused.key}")
        assert expect(404, missing)["code"] == "command_not_found"
        sent = self._send(refused.name, refused.path, refused.body, refused.key)
        if sent.path.endswith("/grants"):
            self._granted(sent)
        elif sent.path.endswith("/debits"):
            self._debited(sent)
        elif sent.path.endswith("/refunds"):
            self._refunded(sent, self.debits[sent.name].index(sent.path.split("/")[-2]))
        else:
            assert expect(409, sent.answer)["code"] == "account_exists"

    # --- what the model says of it ------------------------------------------------------------

    def _granted(self, sent: Sent) -> None:
        body = sent.body
        starts = micros(body["effective_at"]) if "effective_at" in body else 0
        ends = micros(body["expires_at"]) if "expires_at" in body else FOREVER
        fits = {ends > max(now, starts) for now in sent.instants}
        if not self._accepts(sent, sent.is_accepted if len(fits) == 2 else fits.pop(), 400):
            assert [fault["pointer"] for fault in sent.answer.json()["errors"]] == ["/expires_at"]
            return
        book = self.books.get(sent.name) or self._open(sent.name)
        debt = book.debt
        book.grant(
            body["amount"],
            sent.at,
            since=starts or sent.at,
            until=ends,
            priority=body.get("priority", 50),
            bought=body["source"] == "purchase",
            cost=body.get("unit_cost_micros", 0),
            only=set(body["restrict_to"]),
        )
        grant = sent.answer.json()["grant"]
        assert grant["remaining"] == body["amount"] - min(debt, body["amount"])
        self._agrees(sent)

    def _debited(self, sent: Sent) -> None:
        name, amount, tags = sent.name, sent.body["amount"], set(sent.body["tags"])
        if name not in self.books:
            assert not self._accepts(sent, False, 404, "account_not_found")
            return
        book = self.books[name]
        spendable = {book.spendable(tags, now) for now in sent.instants}
        fits = {most >= amount for most in spendable}
        should = sent.is_accepted if len(fits) == 2 else fits.pop()
        if not self._accepts(sent, should, 402, "insufficient_credits"):
            told = sent.answer.json()
            assert told["available"] in spendable
            assert (told["required"], told["shortfall"]) == (amount, amount - told["available"])
            return
        taken = book.spend(amount, tags, sent.at)
        assert taken is not None
        debit = sent.answer.json()["debit"]
        ids = self._grant_ids(name)
        lots = [{"grant_id": ids[place], "amount": part} for place, part in taken]
        assert (debit["amount"], debit["refunded"], debit["lots"]) == (amount, 0, lots)
        self.debits[name].append(debit["debit_id"])
        self._agrees(sent)

    def _refunded(self, sent: Sent, number: int) -> None:
        book = self.books[sent.name]
        left = book.debits[number]["left"]
        amount = sent.body.get("amount", left)
        fits = 0 < amount <= left
        if not self._accepts(sent, fits, 409, "refund_exceeds_debit"):
            told = sent.answer.json()
            assert (told["refundable"], told["requested"]) == (left, amount)
            return
        assert book.refund(number, amount, sent.at)
        assert sent.answer.json()["refund"]["amount"] == amount
        self.refunds[sent.name].append(amount)
        self._agrees(sent)

    def _accepts(self, sent: Sent, should: bool, status: int, code: str = "") -> bool:
        """Whether it took effect, which the model must have expected."""
        assert sent.is_accepted == should, f"{sent.body} {sent.answer.text}"
        self.touched.add(sent.name)
        if sent.is_accepted:
            self.accepted.append(sent)
        else:
            assert expect(status, sent.answer)["code"] == (code or "validation_failed")
            self.refused.append(sent)
        return sent.is_accepted

    def _agrees(self, sent: Sent) -> None:
        """An answer shows the account as it is after the whole command."""
        balance = sent.answer.json()["account"]["balance"]
        assert balance == balance_of(self.books[sent.name], sent.at)

    def _open(self, name: str) -> NaiveAccount:
        self.books[name] = NaiveAccount(grace=GRACE, repays_debt=True)
        return self.books[name]

    # --- what callers read --------------------------------------------------------------------

    @invariant()
    def reads_agree(self) -> None:
        """Balance, grants, statement and log are what the model says."""
        for name in self.touched:
            if name in self.books:
                self._compare_balance(name)
                self._compare_grants(name)
                self._compare_statement(name)
            else:
                missing = self.api.get(f"/v1/accounts/{name}")
                assert expect(404, missing)["code"] == "account_not_found"
        if self.touched:
            self._follow()
        self.touched.clear()

    def _compare_balance(self, name: str) -> None:
        book = self.books[name]
        now, balance = undisturbed(book, lambda: self.api.balance(name))
        assert balance == balance_of(book, now)

    def _compare_grants(self, name: str) -> None:
        book = self.books[name]
        now, grants = undisturbed(book, lambda: self._list(name, "grants"))
        assert [(g["remaining"], g["priority"], set(g["restrict_to"])) for g in grants] == [
            (lot["left"] if lot["until"] > now else 0, lot["priority"], lot["only"])
            for lot in book.lots
        ]

    def _compare_statement(self, name: str) -> None:
        """Every change of the balance is an entry, and the entries add up to it."""
        entries = self._list(name, "entries")
        assert [entry["version"] for entry in entries] == list(range(1, len(entries) + 1))
        posted = 0
        for entry in entries:
            sign = {"credit": 1, "debit": -1, "none": 0}[entry["direction"]]
            posted += sign * entry["amount"]
            assert entry["posted_after"] == posted, entry
        assert posted == self.books[name].posted()

    def _follow(self) -> None:
        """The log goes on without a gap, and bears the keys of what was accepted, in order."""
        head = self.followed
        while self.followed <= head:
            page = expect(200, self.api.get("/v1/events", after=self.followed, limit=FEW))
            self.events += page["items"]
            if page["next_after"] >= page["head"]:
                self.followed = page["next_after"]
                break
            self.followed, head = page["next_after"], page["head"]
        positions = [event["position"] for event in self.events]
        first = positions[0] if positions else 0
        assert positions == list(range(first, first + len(positions)))
        keys = [event["idempotency_key"] for event in self.events if event["idempotency_key"]]
        assert keys == [sent.key for sent in self.accepted]

    def teardown(self) -> None:
        """Debits and refunds are all listed, and the log folded anew gives what the ledger says."""
        for name, book in self.books.items():
            debits = self._list(name, "debits", FEW)
            assert [
                (debit["debit_id"], debit["amount"] - debit["refunded"]) for debit in debits
            ] == [
                (debit_id, debit["left"])
                for debit_id, debit in zip(self.debits[name], book.debits, strict=True)
            ]
            refunds = self._list(name, "refunds", FEW)
            assert [refund["amount"] for refund in refunds] == self.refunds[name]
        assert replay(self.ledger.database.url).differences == []

    # --- small helpers ------------------------------------------------------------------------

    def _send(self, name: str, path: str, body: dict[str, Any], key: str = "") -> Sent:
        key, since = key or secrets.token_hex(8), clock()
        answer = self.api.post(path, body, key=key)
        return Sent(name, path, body, key, answer, since, clock())

    def _list(self, name: str, noun: str, limit: int = PAGE) -> list[Any]:
        """A whole list, oldest first."""
        found: list[Any] = []
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = expect(200, self.api.get(f"/v1/accounts/{name}/{noun}", **query))
            found += page["items"]
            if page["next_cursor"] is None:
                return found[::-1]
            query["cursor"] = page["next_cursor"]

    def _grant_ids(self, name: str) -> list[str]:
        return [grant["grant_id"] for grant in self._list(name, "grants")]


def boundaries(book: NaiveAccount) -> set[int]:
    """The instants at which a balance changes by itself."""
    return {at for lot in book.lots for at in (lot["since"], lot["until"])}


def balance_of(book: NaiveAccount, now: int) -> dict[str, int]:
    """The balance as the API shows it."""
    return {
        "posted": book.posted(),
        "held": 0,
        "available": book.available(now),
        "debt": book.debt,
        "credit_limit": book.limit,
        "pending_expiry": sum(lot["left"] for lot in book.lots if lot["until"] <= now),
    }


def undisturbed(book: NaiveAccount, read: Callable[[], Answer]) -> tuple[int, Answer]:
    """Read in a moment in which no lot starts or ends; with an instant of that moment."""
    while True:
        since = clock()
        answer = read()
        if not any(since <= at <= clock() for at in boundaries(book)):
            return since, answer


def test_the_api_and_a_naive_model_agree(database: Database, processes: Processes) -> None:
    """Whatever callers do, every answer and every read is what the law of credits says."""
    Callers.ledger = serve(processes, database, "--workers", "2")
    profile = settings.default
    assert profile is not None
    lives = settings(max_examples=max(5, profile.max_examples // 12), stateful_step_count=30)
    run_state_machine_as_test(Callers, settings=lives)
    with database.connect() as connection:
        topics = connection.execute("SELECT DISTINCT topic FROM ledger.events").fetchall()
    assert {topic for (topic,) in topics} >= ALL_THAT_HAPPENS
    Callers.ledger.close()
