"""What anyone may send: every answer is a problem document, and nothing is half applied."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from contracts.api.keys import Scope
from contracts.problems import TYPE_URI_PREFIX, ProblemCode
from ledger_service.api.operations import Operation, operations
from ledger_service.app import CONTROLLERS
from tests.fixtures.books import Book
from tests.fixtures.live import Caller, LiveLedger, expect, new_account
from tests.fixtures.tenants import new_tenant

pytestmark = pytest.mark.slow

GRANT: dict[str, Any] = {"amount": 5, "source": "promo"}


def send(ledger: LiveLedger, body: bytes, **headers: str) -> Any:
    """POST raw bytes as a grant; the account must not exist afterwards."""
    account_id = new_account()
    given = {"Idempotency-Key": "k", "Content-Type": "application/json", **headers}
    given = {name.replace("_", "-"): value for name, value in given.items()}
    path = f"/v1/accounts/{account_id}/grants"
    answer = ledger.caller.http.post(path, content=body, headers=given)
    assert ledger.caller.get(f"/v1/accounts/{account_id}").status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == TYPE_URI_PREFIX + problem["code"]
    assert problem["instance"] == path
    return problem


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b'{"amount":5,}',
    b'{"amount":5}{}',
    b"\xff\xfe",
    '{"amount":5,"source":"promo"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"amount":5,"source":"promo"}',
    b'{"amount":05,"source":"promo"}',
    b'{"amount":NaN,"source":"promo"}',
    b'{"amount":Infinity,"source":"promo"}',
    b'{"amount":-Infinity,"source":"promo"}',
    b'{"amount":5,"source":"promo\x00"}',
    b'{"amount":5,"source":"promo","reference":"\x01"}',
    b'{"amount":5,"source":"promo","reference":"\xc3\x28"}',
    b'{"amount":' + b"9" * 5000 + b',"source":"promo"}',
    b"null",
    b"[]",
    b'"text"',
    b"5",
]


@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_no_json_object_is_refused(ledger: LiveLedger, body: bytes) -> None:
    """Malformed bytes, other encodings, numbers that are none and other documents are 400."""
    assert send(ledger, body)["code"] == "validation_failed"


FIELDS = [
    ("/amount", {"amount": "5"}),
    ("/amount", {"amount": True}),
    ("/amount", {"amount": None}),
    ("/amount", {"amount": 0}),
    ("/amount", {"amount": -5}),
    ("/amount", {"amount": 10**12 + 1}),
    ("/amount", {"amount": 2**70}),
    ("/amount", {"amount": [5]}),
    ("/source", {"source": "theft"}),
    ("/priority", {"priority": 101}),
    ("/currency", {"currency": "euro"}),
    ("/currency", {"currency": "EUR\n"}),
    ("/expires_at", {"expires_at": "tomorrow"}),
    ("/expires_at", {"expires_at": "2999-01-01T00:00:00"}),
    ("/expires_at", {"expires_at": "2001-01-01T00:00:00Z"}),
    ("/expires_at", {"expires_at": 4102444800}),
    ("/restrict_to/1", {"restrict_to": ["video", "no blanks"]}),
    ("/restrict_to", {"restrict_to": ["x"] * 17}),
    ("/reference", {"reference": ""}),
    ("/reference", {"reference": "x" * 201}),
    ("/metadata", {"metadata": {"x": 1.5}}),
    ("/metadata", {"metadata": {"x": {"deep": 1}}}),
    ("/metadata", {"metadata": {str(n): n for n in range(17)}}),
    ("/metadata", {"metadata": {"x": "y" * 4096}}),
    ("/metadata/x", {"metadata": {"x": 2**64}}),
    ("/posted", {"posted": 5}),
    ("/tenant", {"tenant": "other"}),
    ("/grant_id", {"grant_id": "grt_1"}),
    ("/a~1b", {"a/b": 1}),
]


@pytest.mark.parametrize(("pointer", "fields"), FIELDS, ids=range(len(FIELDS)))
def test_a_wrong_field_is_pointed_at(
    ledger: LiveLedger, pointer: str, fields: dict[str, Any]
) -> None:
    """Wrong types, bounds and unknown fields are refused, and `errors` says where."""
    problem = send(ledger, json.dumps({**GRANT, **fields}).encode())
    assert problem["code"] == "validation_failed"
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize("missing", ["amount", "source"])
def test_a_missing_field_is_pointed_at(ledger: LiveLedger, missing: str) -> None:
    """What is required and absent is named."""
    fields = {name: value for name, value in GRANT.items() if name != missing}
    problem = send(ledger, json.dumps(fields).encode())
    assert [error["pointer"] for error in problem["errors"]] == [f"/{missing}"]


@pytest.mark.parametrize("number", ["5.0", "5e0", "0.5", "1E400", "-0.0"])
def test_an_amount_has_no_fraction(ledger: LiveLedger, number: str) -> None:
    """Not even a fraction that is zero: credits are integers as they are written."""
    assert send(ledger, b'{"amount":%s,"source":"promo"}' % number.encode())["errors"]


WITH_BODY = [
    it
    for it in operations(CONTROLLERS)
    if it.endpoint.body is not None and it.endpoint.scopes and Scope.WORK not in it.endpoint.scopes
]
STRANGE: list[Any] = [
    *(None, True, -1, 0, 1.5, 2**63, 2**70, -(2**70), 10**12 + 1),
    *("", "x", "\n", "ü" * 300, "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z"),
    *([], [[]], [None], {}, {"": {}}, {"x": [{}]}),
]


def variations(example: Any) -> Iterator[Any]:
    """The example with each of its values, however deep, replaced by strange ones."""
    if isinstance(example, list):
        for inner in variations(example[0]):
            yield [inner]
    if isinstance(example, dict):
        yield {**example, "zzz": 1}
        for name, value in example.items():
            yield {other: kept for other, kept in example.items() if other != name}
            for strange in STRANGE:
                yield {**example, name: strange}
            for inner in variations(value):
                yield {**example, name: inner}


@pytest.fixture(scope="module")
def guinea_pig(ledger: LiveLedger) -> Caller:
    """Somebody whose tenant may suffer."""
    return new_tenant(ledger)


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.title)
def test_no_body_whatsoever_is_our_mistake(
    ledger: LiveLedger, guinea_pig: Caller, operation: Operation
) -> None:
    """Each field of each operation takes what it takes, and refuses all else in so many words."""
    book = Book(guinea_pig, 1000)
    body = {"amount": 1, "reason": "x"}
    ids = {
        "account_id": book.account_id,
        "model": "veo-3.1",
        "grant_id": book.first_grant_id,
        "debit_id": book.debit(1),
        "hold_id": book.post("/holds", body, 201)["hold"]["hold_id"],
        "generation_id": book.order(),
    }
    path = operation.path.format_map(ids)
    example = operation.endpoint.example
    names = [field.encode_name for field in msgspec.structs.fields(operation.endpoint.body)]
    unmentioned = [{**example, name: it} for name in names for it in STRANGE if name not in example]
    for n, document in enumerate([*variations(example), *unmentioned]):
        raw = json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{book.account_id}-{n}"}
        method = operation.endpoint.method
        answer = guinea_pig.http.request(method, path, content=raw, headers=headers)
        assert answer.status_code < 500, (document, answer.text)
        if answer.status_code >= 400:
            problem = answer.json()
            assert problem["type"] == TYPE_URI_PREFIX + problem["code"], document
            assert problem["status"] == answer.status_code
            assert problem["code"] in operation.endpoint.every_problem(), "it is not described"
        if "zzz" in document:
            assert answer.json()["errors"][0]["pointer"] == "/zzz"


DUPLICATES = [
    b'{"amount":5,"amount":500,"source":"promo"}',
    b'{"amount":5,"\\u0061mount":500,"source":"promo"}',
    b'{"amount":5,"source":"promo","metadata":{"a":1,"a":2}}',
]


@pytest.mark.parametrize("body", DUPLICATES, ids=range(len(DUPLICATES)))
def test_a_name_comes_once_in_an_object(ledger: LiveLedger, body: bytes) -> None:
    """Two readers could otherwise see two different amounts in one request."""
    problem = send(ledger, body)
    assert "twice" in problem["errors"][0]["detail"]


SMUGGLED = [r"\u0000", r"a\u0000b", r"\ud800", r"\udfff", r"\\\u0000"]


@pytest.mark.parametrize("text", SMUGGLED)
def test_escapes_do_not_smuggle_text_that_cannot_be_kept(ledger: LiveLedger, text: str) -> None:
    """NUL and half surrogates are refused in values and in names."""
    for body in (
        b'{"amount":5,"source":"promo","reference":"%s"}' % text.encode(),
        b'{"amount":5,"source":"promo","metadata":{"x%s":1}}' % text.encode(),
    ):
        assert send(ledger, body)["code"] == "validation_failed"


def test_escapes_that_mean_something_are_kept(ledger: LiveLedger) -> None:
    """A backslash before u0000 is text, and pairs of surrogates are one character."""
    account_id = new_account()
    body = rb'{"amount":5,"source":"promo","reference":"\\u0000 \ud83d\ude00 \u00fc"}'
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json; charset=UTF-8"}
    path = f"/v1/accounts/{account_id}/grants"
    answer = ledger.caller.http.post(path, content=body, headers=headers)
    assert expect(201, answer)["grant"]["reference"] == "\\u0000 \U0001f600 ü"


@pytest.mark.parametrize("depth", [33, 500, 30_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}"), ("[", "")])
def test_nesting_has_a_limit(ledger: LiveLedger, depth: int, brackets: tuple[str, str]) -> None:
    """However deep, closed or not: 400, and the process lives on."""
    start, end = brackets
    nested = (start * depth + "1" + end * depth)[:60_000]
    body = b'{"amount":5,"source":"promo","metadata":%s}' % nested.encode()
    assert send(ledger, body)["code"] == "validation_failed"


def test_brackets_inside_text_are_no_nesting(ledger: LiveLedger) -> None:
    """Only real nesting counts."""
    reply = ledger.caller.grant(new_account(), 5, reference='[{"' * 60)
    assert reply["grant"]["reference"] == '[{"' * 60


def test_a_body_has_a_limit_of_size(ledger: LiveLedger) -> None:
    """64 KiB, whether its length was announced or it comes in chunks."""
    big = json.dumps({**GRANT, "reference": "x" * 70_000}).encode()
    assert send(ledger, big)["code"] == "payload_too_large"
    chunks = (big[at : at + 1000] for at in range(0, len(big), 1000))
    answer = ledger.caller.http.post(
        f"/v1/accounts/{new_account()}/grants",
        content=chunks,
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert expect(413, answer)["size_max_bytes"] == 65_536


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "application/json; charset=latin-1"},
        {"Content_Type": "application/json, text/plain"},
        {"Content_Encoding": "gzip"},
    ],
)
def test_only_plain_json_is_read(ledger: LiveLedger, headers: dict[str, str]) -> None:
    """Other media types, character sets and encodings are 415."""
    given = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    answer = ledger.caller.http.post(
        f"/v1/accounts/{new_account()}/grants",
        content=json.dumps(GRANT).encode(),
        headers={"Idempotency-Key": "k", **given},
    )
    assert expect(415, answer)["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "query",
    ["dryrun=true", "dry-run=1", "x", "a=1&a=2", "%00=1", "%ff=1", "=", "&".join("abc" * 20)],
)
def test_an_unknown_parameter_never_writes(ledger: LiveLedger, query: str) -> None:
    """A mistyped parameter of a write is refused instead of ignored."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}/grants?{query}"
    assert expect(400, ledger.caller.post(path, GRANT))["code"] == "validation_failed"
    assert ledger.caller.get(f"/v1/accounts/{account_id}").status_code == 404


@pytest.mark.parametrize(
    "account_id",
    ["a%20b", "x" * 129, "%00", "%C3%BC", "a%0A", "%FF", "..%2F..", "a'--", "%F0%9F%98%80", "*"],
)
def test_an_impossible_account_is_a_missing_one(ledger: LiveLedger, account_id: str) -> None:
    """It can be neither read nor spent from, and no grant opens it."""
    path = f"/v1/accounts/{account_id}"
    assert ledger.caller.get(path).status_code == 404
    spent = ledger.caller.post(f"{path}/debits", {"amount": 1, "reason": "x"})
    assert spent.status_code == 404
    assert ledger.caller.post(f"{path}/grants", GRANT).status_code in {400, 404}


@pytest.mark.parametrize("account_id", ["a b", "a\n", "", "ü", "x" * 129, "a/b", "\x7f"])
def test_an_impossible_account_cannot_be_opened(ledger: LiveLedger, account_id: str) -> None:
    """Account ids are opaque names of a few safe characters."""
    answer = ledger.caller.post("/v1/accounts", {"account_id": account_id})
    assert expect(400, answer)["errors"][0]["pointer"] == "/account_id"


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/accounts", "/v1/accounts/a/b/c/d", "/.env"])
def test_an_unknown_address_is_a_problem_document(ledger: LiveLedger, path: str) -> None:
    """404 with the code `not_found`."""
    answer = ledger.caller.get(path)
    assert expect(404, answer)["code"] == "not_found"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_method_is_told_the_right_ones(ledger: LiveLedger) -> None:
    """405 with the Allow header."""
    answer = ledger.caller.http.put(f"/v1/accounts/{new_account()}/debits", json={})
    assert expect(405, answer)["code"] == "method_not_allowed"
    assert {"GET", "POST"} <= set(answer.headers["allow"].replace(",", " ").split())


def test_a_header_that_decides_comes_once(ledger: LiveLedger) -> None:
    """Two keys, two credentials or two types in one request are refused, not chosen from."""
    path, body = f"/v1/accounts/{new_account()}/grants", json.dumps(GRANT).encode()
    once = {
        "Content-Type": "application/json",
        "Idempotency-Key": "k",
        "Authorization": f"Bearer {ledger.caller.key}",
    }
    for name, value in once.items():
        headers = [*once.items(), (name, value)]
        answer = ledger.nobody.http.post(path, content=body, headers=headers)
        assert expect(400, answer)["errors"][0]["pointer"] == name.lower()


def answer_to(ledger: LiveLedger, sent: bytes) -> bytes:
    """Send bytes and return what comes until the server closes."""
    where = urlsplit(ledger.url)
    assert where.hostname is not None
    answer = b""
    with socket.create_connection((where.hostname, where.port or 0), timeout=5) as connection:
        with suppress(ConnectionError):  # it may have heard enough before all was said
            connection.sendall(sent)
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
    return answer


NOT_HTTP = [
    b"GET /v1/accounts/\xc3\xbc HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nBroken header\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 5x\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"nonsense\r\n\r\n",
    b"GET /?" + b"a" * 300_000,
    b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000,
    b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 60_000,
]


@pytest.mark.parametrize("sent", NOT_HTTP, ids=range(len(NOT_HTTP)))
def test_what_is_no_http_ends_that_connection_alone(ledger: LiveLedger, sent: bytes) -> None:
    """A problem document, and the connection is closed; endless heads are cut off."""
    head, _, body = answer_to(ledger, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == "validation_failed"
    assert ledger.caller.get("/health/live").status_code == 200


def test_every_answer_can_be_traced(ledger: LiveLedger) -> None:
    """The caller's trace is continued, or one is begun; refusals have it too."""
    given = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    answer = ledger.caller.http.get("/v1/accounts/none", headers={"traceparent": given})
    assert answer.headers["trace-id"] == "ab" * 16
    fresh = ledger.nobody.get("/v1/accounts/none").headers["trace-id"]
    assert len(fresh) == 32
    for wrong in ("00-" + "0" * 32 + "-" + "1" * 16 + "-01", "nonsense", "00-zz-1-01"):
        answer = ledger.caller.http.get("/health/live", headers={"traceparent": wrong})
        assert answer.headers["trace-id"] not in wrong


def test_every_code_has_a_status_and_a_sentence() -> None:
    """The list of codes and what they mean over HTTP are the same list."""
    from ledger_service.api.problem_details import KINDS

    assert set(KINDS) == set(ProblemCode)
    assert all(400 <= kind.status < 600 and kind.detail for kind in KINDS.values())


@pytest.mark.parametrize("path", ["/v1/accounts/x", "/docs", "/nowhere"])
def test_a_head_is_answered_at_once(ledger: LiveLedger, path: str) -> None:
    """Nobody waits for the body that an answer to a HEAD does not have."""
    answer = ledger.caller.http.head(path)
    assert answer.status_code in {404, 405}
    assert answer.content == b""
