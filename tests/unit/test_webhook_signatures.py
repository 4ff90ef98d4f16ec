"""What of a webhook is believed, as far as its signature goes: nothing that was altered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger_service.generations.webhook_signatures import (
    KEYS_MAX,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    USER_ID_HEADER,
    Keys,
    Verdict,
    judge,
    read_keys,
    read_proof,
)
from tests.fixtures.signing_provider import USER_ID, jwk, key_set, sign

OURS, OTHER, THIRD = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
KEYS = read_keys(key_set(OURS))
NOW = 1_800_000_000
BODY = b'{"request_id":"req-7","status":"OK","payload":{"video":null}}'

Headers = dict[bytes, bytes]

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


def signed(
    body: bytes = BODY,
    *,
    key: Ed25519PrivateKey = OURS,
    request_id: str = "req-7",
    user_id: str = USER_ID,
    timestamp: str = str(NOW),
) -> Headers:
    """The headers of a webhook as they arrive: names in lower case, bytes throughout."""
    headers = sign(key, body, request_id, user_id, timestamp)
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def verdict(headers: Headers, body: bytes = BODY, *, keys: Keys = KEYS) -> Verdict:
    """What is made of a webhook at the time NOW."""
    proof = read_proof(headers.get)
    return Verdict.FORGED if proof is None else judge(proof, body, keys, NOW)


@given(st.binary(max_size=300), VISIBLE, VISIBLE, st.integers(NOW - 300, NOW + 300))
def test_what_the_provider_signed_is_genuine(
    body: bytes, request_id: str, user_id: str, timestamp: int
) -> None:
    """Any body, ids and time within the window verify, whichever of its keys was used."""
    keys = read_keys(key_set(OTHER, OURS, THIRD))
    for key in (OURS, OTHER, THIRD):
        headers = signed(
            body, key=key, request_id=request_id, user_id=user_id, timestamp=str(timestamp)
        )
        assert verdict(headers, body, keys=keys) is Verdict.GENUINE


def spoiled(text: bytes) -> list[bytes]:
    """Every text that differs in one bit, lacks one byte, or has one more at its end."""
    flipped = [
        text[:at] + bytes([text[at] ^ (1 << bit)]) + text[at + 1 :]
        for at in range(len(text))
        for bit in range(8)
    ]
    return [*flipped, *(text[:at] + text[at + 1 :] for at in range(len(text))), text + b"0"]


def test_no_altered_byte_passes() -> None:
    """One bit of the body or of any header changed, one byte lost or added: forged."""
    headers = signed()
    assert verdict(headers) is Verdict.GENUINE
    passed = [body for body in spoiled(BODY) if verdict(headers, body) is not Verdict.FORGED]
    assert passed == []
    for name, value in headers.items():
        for other in spoiled(value):
            if name == SIGNATURE_HEADER and other.lower() == value:
                continue  # the same 64 bytes, in other letters
            assert verdict({**headers, name: other}) is Verdict.FORGED, (name, other)


@given(st.lists(st.binary(max_size=140), min_size=4, max_size=4), st.binary(max_size=50))
def test_any_headers_are_read_or_refused(values: list[bytes], body: bytes) -> None:
    """Whatever bytes the four headers hold: a verdict, and never a good one."""
    headers = dict(zip(signed(), values, strict=True))
    assert verdict(headers, body) is Verdict.FORGED


def test_a_missing_header_is_no_proof() -> None:
    """Each of the four is needed."""
    headers = signed()
    for name in headers:
        assert verdict({key: headers[key] for key in headers if key != name}) is Verdict.FORGED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (SIGNATURE_HEADER, b""),
        (SIGNATURE_HEADER, b"0" * 127),
        (SIGNATURE_HEADER, b"0" * 130),
        (SIGNATURE_HEADER, b"zz" * 64),
        (SIGNATURE_HEADER, b"00 " * 42 + b"00"),
        (SIGNATURE_HEADER, b"\xd9\xa0" * 64),
        (SIGNATURE_HEADER, b"\xff" * 128),
        (TIMESTAMP_HEADER, b"-5"),
        (TIMESTAMP_HEADER, b"1e9"),
        (TIMESTAMP_HEADER, b"9" * 13),
        (TIMESTAMP_HEADER, b"9" * 5000),
        (TIMESTAMP_HEADER, b"\xd9\xa1\xd9\xa2"),
        (USER_ID_HEADER, b"two words"),
        (USER_ID_HEADER, "usér".encode()),
        (USER_ID_HEADER, b"u\n1"),
        (USER_ID_HEADER, b"u" * 257),
    ],
)
def test_a_malformed_header_is_no_proof(name: bytes, value: bytes) -> None:
    """Odd hex, strange digits, huge numbers and other alphabets are refused before any key is."""
    assert read_proof({**signed(), name: value}.get) is None


@pytest.mark.parametrize("timestamp", ["1,5", "1 ", "9" * 13, "²"])
def test_a_signature_does_not_excuse_a_malformed_time(timestamp: str) -> None:
    """Even what is truly signed must say a time that is one."""
    headers = {**signed(timestamp=timestamp), TIMESTAMP_HEADER: timestamp.encode()}
    assert verdict(headers) is Verdict.FORGED


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (NOW - 300, Verdict.GENUINE),
        (NOW + 300, Verdict.GENUINE),
        (NOW - 301, Verdict.STALE),
        (NOW + 301, Verdict.STALE),
        (0, Verdict.STALE),
        (10**12 - 1, Verdict.STALE),
    ],
)
def test_outside_of_the_window_it_is_stale(timestamp: int, expected: Verdict) -> None:
    """300 s either way, and no more; a wrong signature is forged at any time."""
    headers = signed(timestamp=str(timestamp))
    assert verdict(headers) is expected
    assert verdict(headers, BODY + b" ") is Verdict.FORGED


def test_a_stranger_key_is_not_believed() -> None:
    """A signature is good under the provider's keys alone, and under none when there are none."""
    assert verdict(signed(key=OTHER)) is Verdict.FORGED
    assert verdict(signed(), keys=()) is Verdict.FORGED


def test_keys_of_other_kinds_are_passed_over() -> None:
    """A set may hold keys that are not for us, and broken ones; ours is found among them."""
    x = jwk(OURS)["x"]
    strangers: list[dict[str, Any]] = [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": jwk(OTHER)["x"], "y": x},
        {"kty": "OKP", "crv": "X25519", "x": jwk(OTHER)["x"]},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "ünïcode"},
        {"kty": "OKP", "crv": "Ed25519", "x": 7},
        {},
    ]
    keys = read_keys(json.dumps({"keys": [*strangers, {"x": x + "="}]}).encode())
    assert len(keys) == 1
    assert verdict(signed(), keys=keys) is Verdict.GENUINE
    assert len(read_keys(key_set(*[OURS] * (KEYS_MAX + 1)))) == KEYS_MAX


@pytest.mark.parametrize(
    "document",
    [b"", b"no JSON", b"[]", b"{}", b'{"keys":7}', b'{"keys":[]}', b'{"keys":[{"x":"AAAA"}]}'],
)
def test_a_set_without_a_key_is_none(document: bytes) -> None:
    """Anything else than a set with an Ed25519 key is a ValueError, whatever it is."""
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's own errors are among them
        read_keys(document)
