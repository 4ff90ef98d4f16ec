"""First answers of versions 2 to 5, byte for byte, and what entries tell of each event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from contracts.api.generations import FlagReason
from contracts.api.prices import PriceFactor, PriceLine, PriceType
from contracts.jobs import JobPriority
from ledger_service.api.entry_details import SHOWN, details_of
from ledger_service.api.replies import render
from ledger_service.domain.events import TOPICS, Event, topic_of
from ledger_service.domain.events.account import (
    AccountEvent,
    Answer,
    CommandAccepted,
    CreditsDebited,
    CreditsGranted,
    Slice,
)
from ledger_service.domain.events.clawbacks import (
    ClawbackAfter,
    DebtWrittenOff,
    GrantAfter,
    GrantExpiryChanged,
    GrantVoided,
)
from ledger_service.domain.events.generation import GenerationFlagged
from ledger_service.domain.events.holds import (
    HoldAfter,
    HoldCaptured,
    HoldPlaced,
    HoldsReleased,
)
from ledger_service.domain.events.standing import AccountFrozen
from ledger_service.domain.events.transfers import AccountMerged
from ledger_service.engine.submission import Recorded

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
TIME = '"2026-01-02T03:04:05.678000Z"'
ANSWER = Answer(
    key="k",
    http_status=201,
    reply=2,
    version=4,
    posted=65,
    held=5,
    available=60,
    debt=0,
    credit_limit=0,
    pending_expiry=0,
    status=AccountStatus.ACTIVE,
    unit="credit",
    opened_at=AT,
)
OUTCOME = (
    '{"position":9,"recorded_at":%s,"account":{"account_id":"a","unit":"credit",'
    '"status":"active","version":4,"position":9,"balance":{"posted":65,"held":5,"available":60,'
    '"debt":0,"credit_limit":0,"pending_expiry":0},"merged_into":%s,"opened_at":%s}'
)
ACCOUNT = OUTCOME % (TIME, "null", TIME)
MERGED = OUTCOME % (TIME, '"b"', TIME)
HOLD = HoldAfter(hold_id="hld_1", amount=30, status="open", expires_at=AT, created_at=AT)
HELD = (
    ',"hold":{"hold_id":"hld_1","amount":30,"captured":%d,"released":%d,"status":"%s",'
    '"expires_at":' + TIME + ',"reason":"free text","reference":null,"metadata":{"m":1},'
    '"created_at":' + TIME + "}"
)
GRANT = (
    ',"grant":{"grant_id":"grt_1","amount":70,"remaining":%d,"held":0,"spent":0,'
    '"source":"promo","priority":50,"effective_at":' + TIME + ',"expires_at":null,'
    '"unit_cost_micros":null,"currency":null,"restrict_to":[],"reference":null,'
    '"metadata":{"m":1},"created_at":' + TIME + ","
)
PLAIN = '"kind":"grant","origin":null,"voided":false,"clawback":null}}'
GRANTED = CreditsGranted(
    grant_id="grt_1", amount=70, source="promo", priority=50, effective_at=AT, command=ANSWER
)
DERIVED = GrantAfter(
    grant_id="grt_1",
    amount=70,
    remaining=9,
    source="promo",
    priority=50,
    effective_at=AT,
    created_at=AT,
    kind="transfer",
    origin="grt_0",
    from_account="z",
    is_voided=True,
    clawback=ClawbackAfter(target=60, taken=30, absorbed=10, owed=9, repaid=8, forwarded=3),
)
CAPTURED = HoldCaptured(
    hold=replace(HOLD, status="captured", captured=20, released=10),
    debit_id="dbt_1",
    amount=20,
    slices=(Slice("grt_1", 20),),
    command=ANSWER,
)
PRIVATE = {"reason": "free text", "metadata": {"m": 1}}
GOLDEN: list[tuple[Event, str]] = [
    (GRANTED, ACCOUNT + GRANT % 70 + PLAIN),
    (
        replace(GRANTED, command=replace(ANSWER, merged_into="b")),
        MERGED + GRANT % 0 + PLAIN,
    ),
    (
        replace(GRANTED, is_adjustment=True, source="adjustment"),
        ACCOUNT + ',"adjustment":{"adjustment_id":"grt_1","amount":70,"direction":"credit",'
        '"reason":"free text","lots":[{"grant_id":"grt_1","amount":70}],"created_at":'
        + TIME
        + "}}",
    ),
    (
        CreditsDebited(
            debit_id="dbt_1",
            amount=5,
            slices=(Slice("grt_1", 5),),
            reason="code",
            is_adjustment=True,
            command=ANSWER,
        ),
        ACCOUNT + ',"adjustment":{"adjustment_id":"dbt_1","amount":5,"direction":"debit",'
        '"reason":"code","lots":[{"grant_id":"grt_1","amount":5}],"created_at":' + TIME + "}}",
    ),
    (
        HoldPlaced(hold=HOLD, slices=(Slice("grt_1", 30),), command=ANSWER),
        ACCOUNT + HELD % (0, 0, "open") + "}",
    ),
    (
        CAPTURED,
        ACCOUNT + HELD % (20, 10, "captured") + ',"debit":{"debit_id":"dbt_1","amount":20,'
        '"refunded":0,"reason":"free text","reference":null,'
        '"lots":[{"grant_id":"grt_1","amount":20}],"metadata":{"m":1},"created_at":' + TIME + "}}",
    ),
    (
        HoldsReleased(
            reference="r",
            holds=(Slice("hld_1", 30),),
            freed=(Slice("grt_1", 30),),
            has_more=True,
            command=ANSWER,
        ),
        ACCOUNT + ',"holds":[{"hold_id":"hld_1","amount":30}],"has_more":true}',
    ),
    (
        GrantVoided(grant_id="grt_1", grant=DERIVED, command=ANSWER),
        ACCOUNT
        + GRANT % 9
        + '"kind":"transfer","origin":{"account_id":"z","grant_id":"grt_0"},"voided":true,'
        '"clawback":{"target":60,"taken":30,"absorbed":10,"owed":9,"repaid":8,"forwarded":3}}}',
    ),
    (
        GrantExpiryChanged(grant_id="grt_1", grant=DERIVED, command=ANSWER),
        ACCOUNT
        + GRANT % 9
        + '"kind":"transfer","origin":{"account_id":"z","grant_id":"grt_0"},"voided":true,'
        '"clawback":{"target":60,"taken":30,"absorbed":10,"owed":9,"repaid":8,"forwarded":3}}}',
    ),
    (
        DebtWrittenOff(amount=4, command=ANSWER),
        ACCOUNT + ',"write_off":{"amount":4,"reason":"free text","created_at":' + TIME + "}}",
    ),
    (AccountFrozen(reason="x", command=ANSWER), ACCOUNT + "}"),
    (
        AccountMerged(
            merged_into="b",
            transfer_id="trf_1",
            moved=7,
            command=replace(ANSWER, merged_into="b"),
        ),
        MERGED + ',"transfer":{"transfer_id":"trf_1","from_account_id":"a","to_account_id":"b",'
        '"amount":7,"reason":"free text","created_at":' + TIME + "}}",
    ),
]


@pytest.mark.parametrize(
    ("event", "expected"), GOLDEN, ids=[topic_of(event) for event, _ in GOLDEN]
)
def test_first_answers_of_version_2_are_frozen(event: Event, expected: str) -> None:
    """These bytes have been sent to callers: a change needs a new version beside this one."""
    assert rendered(event) == expected


PRICED = CreditsDebited(
    debit_id="dbt_1",
    amount=15,
    slices=(Slice("grt_1", 15),),
    generation_id="gen_1",
    model="boats",
    quote_id="qte_1",
    price_line=PriceLine(
        book=2,
        book_digest="0123",
        type=PriceType.PER_SECOND,
        quantity=6,
        unit_price_millis=2500,
        options={"duration": "6s", "loud": True},
        factors=(PriceFactor(option="loud", permille=1000),),
        total=15,
    ),
    command=replace(ANSWER, reply=3),
)
FREE = CommandAccepted(generation_id="gen_1", model="boats", command=replace(ANSWER, reply=3))
ORDERED = (
    ',"generation":{"generation_id":"gen_1","account_id":"a","model":"boats",'
    '"status":"requested","input":{},"price":%d,"charged":%d,"refunded":0,"debit_id":%s,'
    '"refund_id":null,"quote_id":%s,"reference":null,"metadata":{"m":1},"attempts":0,'
    '"failure":null,"result":null,"cancel_requested_at":null,"created_at":'
    + TIME
    + ',"updated_at":'
    + TIME
    + ',"finished_at":null%s}}'
)
LINE = (
    ',"price_line":{"book":2,"book_digest":"0123","type":"per_second","quantity":6,'
    '"unit_price_millis":2500,"options":{"duration":"6s","loud":true},'
    '"factors":[{"option":"loud","permille":1000}],"total":15}'
)
MADE = ',"results":[],"media_removed_at":null'


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (PRICED, ORDERED % (15, 15, '"dbt_1"', '"qte_1"', LINE + MADE)),
        (FREE, ORDERED % (0, 0, "null", "null", ',"price_line":null' + MADE)),
        # What was answered before there were price lines is answered like that for ever.
        (replace(PRICED, command=ANSWER), ORDERED % (15, 15, '"dbt_1"', "null", "")),
        (replace(FREE, command=ANSWER), ORDERED % (0, 0, "null", "null", "")),
    ],
    ids=["priced", "free", "priced before", "free before"],
)
def test_first_answers_of_version_3_are_frozen(event: Event, expected: str) -> None:
    """Generations tell their quote and how their price came about."""
    assert rendered(event) == ACCOUNT + expected


@pytest.mark.parametrize(
    ("theme", "told"), [("at-dusk", '"at-dusk"'), (None, "null")], ids=["by a theme", "by none"]
)
def test_first_answers_of_version_4_are_frozen(theme: str | None, told: str) -> None:
    """Generations tell the theme that they were ordered by; other debits are as before."""
    command = replace(ANSWER, reply=4)
    themed = MADE + f',"theme":{told}'
    priced = replace(PRICED, theme=theme, command=command)
    assert rendered(priced) == ACCOUNT + ORDERED % (15, 15, '"dbt_1"', '"qte_1"', LINE + themed)
    free = replace(FREE, theme=theme, command=command)
    assert rendered(free) == ACCOUNT + ORDERED % (
        0,
        0,
        "null",
        "null",
        ',"price_line":null' + themed,
    )
    plain = replace(PRICED, generation_id=None, model=None, price_line=None, quote_id=None)
    before, after = (replace(plain, command=replace(ANSWER, reply=reply)) for reply in (3, 4))
    assert rendered(after) == rendered(before)


def test_first_answers_of_version_5_are_frozen() -> None:
    """Generations tell their priority, and that nobody has reported them; other debits are as
    before."""
    command = replace(ANSWER, reply=5)
    told = MADE + ',"theme":null,"progress":null,"priority":"low","flagged":null'
    priced = replace(PRICED, priority=JobPriority.LOW, command=command)
    assert rendered(priced) == ACCOUNT + ORDERED % (15, 15, '"dbt_1"', '"qte_1"', LINE + told)
    free = replace(FREE, command=command)
    normal = ',"price_line":null' + told.replace("low", "normal")
    assert rendered(free) == ACCOUNT + ORDERED % (0, 0, "null", "null", normal)
    plain = replace(PRICED, generation_id=None, model=None, price_line=None, quote_id=None)
    before, after = (replace(plain, command=replace(ANSWER, reply=reply)) for reply in (4, 5))
    assert rendered(after) == rendered(before)


@pytest.mark.parametrize(
    ("private", "text"),
    [({"text": "my face"}, '"my face"'), (None, "null")],
    ids=["kept", "erased"],
)
def test_the_first_answer_to_a_report_is_frozen(private: Any, text: str) -> None:
    """The report itself, with its words while they are kept."""
    flagged = GenerationFlagged(
        flag_id="flg_1", reason=FlagReason.BROKEN, private="00", command=replace(ANSWER, reply=5)
    )
    assert rendered(flagged, stream="t/a/gen_1", private=private) == (
        '{"position":9,"recorded_at":' + TIME + ',"flag":{"flag_id":"flg_1",'
        '"generation_id":"gen_1","account_id":"a","reason":"broken","text":' + text
        + ',"created_at":' + TIME + "}}"
    )  # fmt: skip


def rendered(event: Event, stream: str = "t/a", private: Any = PRIVATE) -> str:
    """The first answer that an event bears."""
    recorded = Recorded(
        log="main",
        position=9,
        owner="t/a",
        stream=stream,
        version=4,
        event=event,
        recorded_at=AT,
        actor="key:1",
    )
    return render(recorded, private).decode()


def test_entries_know_every_event_of_accounts() -> None:
    """Whatever may stand in an account's history can be told on its statement."""
    kinds = {kind for kind in TOPICS.values() if issubclass(kind, AccountEvent)}
    assert kinds == set(SHOWN)
    details = details_of(CAPTURED, "why")
    assert {"hold_id": "hld_1", "debit_id": "dbt_1", "reason": "why"}.items() <= details.items()
