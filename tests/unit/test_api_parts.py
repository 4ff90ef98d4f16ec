"""The API's small parts, each on its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.api.accounts import AccountStatus
from contracts.limits import JSON_DEPTH_MAX
from ledger_service.api.body import canonical, parse_json
from ledger_service.api.cursors import Cursors
from ledger_service.api.headers import readable_key
from ledger_service.api.private import kept
from ledger_service.api.replies import render
from ledger_service.domain.events import Event, topic_of
from ledger_service.domain.events.account import (
    AccountOpened,
    Answer,
    CreditsDebited,
    CreditsGranted,
    DebitRefunded,
    Slice,
)
from ledger_service.engine.submission import Recorded
from ledger_service.errors import Rejected

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS, st.booleans())
def test_proper_json_passes_unchanged(document: Any, ascii_only: bool) -> None:
    """Whatever JSON can say and we can keep is read as it was meant, however it is written."""
    raw = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert parse_json(raw) == document


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u019eE+-. ntf').map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Nothing but a document or a refusal ever comes out; what passes is JSON for others too."""
    try:
        document = parse_json(raw)
    except Rejected:
        return
    assert json.loads(raw) == document


@given(st.dictionaries(TEXT, st.integers(), min_size=1), st.data())
def test_a_repeated_name_is_found_wherever_it_is(fields: dict[str, int], data: Any) -> None:
    """In the outermost object or a nested one, beside texts full of colons or not."""
    pairs = [*fields.items(), (data.draw(st.sampled_from(sorted(fields))), 0)]
    inner = ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs)
    for wrapped in (f"{{{inner}}}", f'[1,{{"a:b":[{{{inner}}}]}}]'):
        with pytest.raises(Rejected, match="validation_failed"):
            parse_json(wrapped.encode())


@pytest.mark.parametrize("depth", [JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1])
@pytest.mark.parametrize("text", ["", '"[[[[{{{{"', '"\\"[[[["', '"\\\\"'])
def test_depth_is_counted_exactly(depth: int, text: str) -> None:
    """32 levels pass and 33 do not, whatever brackets stand in texts."""
    raw = ("[" * depth + text + "]" * depth).encode()
    if depth > JSON_DEPTH_MAX:
        with pytest.raises(Rejected):
            parse_json(raw)
    else:
        parse_json(raw)


@given(st.dictionaries(TEXT, DOCUMENTS, max_size=5))
def test_order_and_blanks_do_not_matter(fields: dict[str, Any]) -> None:
    """Two spellings of one document have one canonical form."""
    reordered = dict(reversed(fields.items()))
    spaced = json.dumps(reordered, indent=3).encode()
    assert canonical(parse_json(spaced)) == canonical(fields)


@given(TEXT, TEXT, TEXT)
def test_a_cursor_is_good_for_its_own_list(place: str, of: str, other: str) -> None:
    """It leads back to its place with the same filters, and nowhere with others."""
    cursors = Cursors(b"secret" * 4)
    made = cursors.make(place, of)
    assert cursors.read(made, of) == place
    if other != of:
        with pytest.raises(Rejected, match="cursor_invalid"):
            cursors.read(made, other)
    with pytest.raises(Rejected, match="cursor_invalid"):
        Cursors(b"another" * 4).read(made, of)


@pytest.mark.parametrize(
    ("given_key", "read"),
    [(b"abc", "abc"), (b'"abc"', "abc"), (b'"', '"'), (b'""', '""'), (b'"a', '"a')],
)
def test_quotes_around_a_key_do_not_count(given_key: bytes, read: str) -> None:
    """A key in quotes is the key itself; quotes around nothing are a key of their own."""
    assert readable_key(given_key) == read


@pytest.mark.parametrize("reason", ["order-1", "a.b:c_d", "x" * 64])
def test_a_code_is_not_personal(reason: str) -> None:
    """A reason that reads like a code may stand in the log."""
    assert kept(reason=reason) == (reason, None)


@pytest.mark.parametrize("reason", ["two words", "ü", "a@b.example", "x" * 65, "line\n"])
def test_free_text_is_personal(reason: str) -> None:
    """Any other reason goes to the vault, like metadata."""
    assert kept(reason=reason, metadata={"a": 1}) == (
        None,
        {"reason": reason, "metadata": {"a": 1}},
    )


AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def answer(http_status: int = 201, trailing: int = 0) -> Answer:
    """What an event keeps of its command's first answer."""
    return Answer(
        key="k",
        http_status=http_status,
        reply=1,
        version=4 + trailing,
        posted=65,
        held=5,
        available=60,
        debt=0,
        credit_limit=0,
        pending_expiry=0,
        status=AccountStatus.ACTIVE,
        unit="credit",
        opened_at=AT,
        trailing=trailing,
    )


ACCOUNT = (
    '"recorded_at":"2026-01-02T03:04:05.678000Z","account":{"account_id":"a","unit":"credit",'
    '"status":"active","version":%d,"position":%d,"balance":{"posted":65,"held":5,"available":60,'
    '"debt":0,"credit_limit":0,"pending_expiry":0},"merged_into":null,'
    '"opened_at":"2026-01-02T03:04:05.678000Z"}'
)
CREATED = '"created_at":"2026-01-02T03:04:05.678000Z"'
LOTS = '"lots":[{"grant_id":"grt_1","amount":30}]'
GOLDEN: list[tuple[Event, str]] = [
    (
        AccountOpened(tenant="t", account_id="a", unit="credit", command=answer()),
        '{"position":9,' + ACCOUNT % (4, 9) + "}",
    ),
    (
        CreditsGranted(
            grant_id="grt_1",
            amount=70,
            source="promo",
            priority=50,
            effective_at=AT,
            repaid=5,
            restrict_to=("video",),
            reference="r",
            command=answer(),
        ),
        '{"position":9,' + ACCOUNT % (4, 9) + ',"grant":{"grant_id":"grt_1","amount":70,'
        '"remaining":65,"held":0,"spent":0,"source":"promo","priority":50,'
        '"effective_at":"2026-01-02T03:04:05.678000Z","expires_at":null,"unit_cost_micros":null,'
        '"currency":null,"restrict_to":["video"],"reference":"r","metadata":{"m":1},'
        + CREATED
        + "}}",
    ),
    (
        CreditsDebited(
            debit_id="dbt_1",
            amount=35,
            slices=(Slice("grt_1", 30),),
            on_credit=5,
            command=answer(),
        ),
        '{"position":9,' + ACCOUNT % (4, 9) + ',"debit":{"debit_id":"dbt_1","amount":35,'
        '"refunded":0,"reason":"free text","reference":null,'
        + LOTS
        + ',"metadata":{"m":1},'
        + CREATED
        + "}}",
    ),
    (
        DebitRefunded(
            refund_id="rfd_1",
            debit_id="dbt_1",
            amount=35,
            slices=(Slice("grt_1", 30),),
            debt_cancelled=5,
            debit_amount=35,
            refunded=35,
            slices_refunded=(30,),
            credit_refunded=5,
            reason="code",
            command=answer(trailing=2),
        ),
        '{"position":11,' + ACCOUNT % (6, 11) + ',"refund":{"refund_id":"rfd_1",'
        '"debit_id":"dbt_1","amount":35,"reason":"code",' + LOTS + "," + CREATED + "}}",
    ),
]


@pytest.mark.parametrize(
    ("event", "expected"), GOLDEN, ids=[topic_of(event) for event, _ in GOLDEN]
)
def test_first_answers_of_version_1_are_frozen(event: Event, expected: str) -> None:
    """These bytes have been sent to callers: a change needs a new version beside this one."""
    recorded = Recorded(
        log="main",
        position=9,
        owner="t/a",
        stream="t/a",
        version=4,
        event=event,
        recorded_at=AT,
        actor="key:1",
    )
    private = {"reason": "free text", "metadata": {"m": 1}}
    assert render(recorded, private).decode() == expected
