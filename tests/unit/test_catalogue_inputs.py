"""Inputs are judged before anything is charged: where the fault is, which rule, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemCode
from ledger_service.errors import Rejected
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.document import shipped
from ledger_service.generations.inputs import ERRORS_MAX, faults_of, is_public_https, validator_of
from tests.fixtures.naive_prices import IMAGE_URL, least_input

CATALOGUE = Catalogue(shipped())
SECRET = "a birthday card for Ms Smith of 12 Elm Street"
I2V, KLING = "veo-3.1-lite-image-to-video", "kling-3-standard"


def faults(model: str, content: dict[str, Any]) -> dict[str, str]:
    """What is wrong with an input, by pointer."""
    with pytest.raises(Rejected) as refusal:
        CATALOGUE.orderable(model, content)
    assert refusal.value.code is ProblemCode.VALIDATION_FAILED
    assert refusal.value.errors
    return {error.pointer: error.detail for error in refusal.value.errors}


@pytest.mark.parametrize(
    ("model", "content", "pointer", "said"),
    [
        ("veo-3.1-lite", {}, "/input", "needs prompt"),
        (I2V, {"image_url": IMAGE_URL}, "/input", "needs prompt"),
        ("veo-3.1-lite", {"prompt": "x", "duration": "9s"}, "/input/duration", "rule enum"),
        ("veo-3.1-lite", {"prompt": "x", "colour": SECRET}, "/input/colour", "does not take this"),
        ("veo-3.1-lite", {"prompt": "x", "a/b~": 1}, "/input/a~1b~0", "does not take this"),
        ("veo-3.1-lite", {"prompt": SECRET * 200}, "/input/prompt", "rule maxLength: 5000"),
        ("veo-3.1-lite", {"prompt": [SECRET]}, "/input/prompt", "rule type: string"),
        ("veo-3.1-lite", {"prompt": "x", "generate_audio": 1}, "/input/generate_audio", "boolean"),
        (I2V, {"prompt": "x", "image_url": "http://a.example.org/"}, "/input/image_url", "https"),
        (KLING, {}, "/input", "needs prompt or multi_prompt"),
        (
            KLING,
            {"prompt": SECRET, "multi_prompt": [{"prompt": SECRET, "duration": "3"}]},
            "/input",
            "several forms at once",
        ),
        (
            KLING,
            {"multi_prompt": [{"prompt": "x", "duration": "3"}, {"prompt": SECRET}]},
            "/input/multi_prompt/1",
            "needs duration",
        ),
        (
            KLING,
            {"multi_prompt": [{"prompt": SECRET, "duration": SECRET}]},
            "/input/multi_prompt/0/duration",
            "rule enum",
        ),
        (KLING, {"multi_prompt": []}, "/input/multi_prompt", "rule minItems: 1"),
        ("ltx-2.3-image-to-video",
         {"prompt": "x", "image_url": IMAGE_URL, "duration": 6.0},
         "/input/duration", "no price"),
        ("flux-schnell", {"prompt": "x", "image_size": "square", "num_images": 5},
         "/input/num_images", "maximum: 4"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place_and_its_rule(
    model: str, content: dict[str, Any], pointer: str, said: str
) -> None:
    """A JSON pointer into the request, and nothing of what was written there."""
    if "no price" in said:
        with pytest.raises(Rejected) as refusal:
            CATALOGUE.orderable(model, content).price(content)
        told = {error.pointer: error.detail for error in refusal.value.errors}
    else:
        told = faults(model, content)
    assert said in told[pointer]
    assert SECRET not in str(told)


def test_of_several_forms_the_nearest_is_explained() -> None:
    """Whoever is nearly right hears of the little that is missing."""
    form = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}
    other = {"type": "object", "required": ["y", "z"], "properties": {"y": {"const": 1}}}
    validator = validator_of({"properties": {"shape": {"anyOf": [other, form]}}})
    (fault,) = faults_of(validator, {"shape": {"x": SECRET}})
    assert (fault.pointer, fault.detail) == ("/input/shape/x", "breaks the rule type: integer")


def test_faults_are_bounded() -> None:
    """However much is wrong, the answer stays short."""
    told = faults("veo-3.1-lite", {f"field-{n}": n for n in range(500)})
    assert len(told) == ERRORS_MAX


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.org/a.png",
        "https://images.example.org:443/a.png?signature=x%20y&e=1",
        "https://BUCKET.s3.amazonaws.com/key",
        "https://xn--bcher-kva.example/a",
    ],
)
def test_public_addresses_are_taken(url: str) -> None:
    """https, a name, and whatever path."""
    assert is_public_https(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "http://images.example.org/a.png", "ftp://images.example.org/a",
        "//images.example.org/a",
        "https://169.254.169.254/latest/meta-data", "https://127.0.0.1/", "https://2130706433/",
        "https://0x7f.1/", "https://127.1/", "https://[::1]/", "https://[fd00::1]/a.png",
        "https://localhost/", "https://localhost./", "https://metadata.google.internal/",
        "https://printer.local/a.png", "https://intranet/", "https://a.localhost/",
        "https://user:pass@images.example.org/", "https://images.example.org@evil.example.org/",
        "https://images.example.org:8443/", "https://images.example.org:x/", "https://",
        "https://images.example.org\\@localhost/", "https://images.example.org /a",
        "https://images.example.org/\n", "https://images.example.org/a\tb", "https://bücher.example/",
        "https://10.0.0.1.:443/", "data:image/png;base64,AAAA", "file:///etc/passwd",
        "https://images.example.org/" + "a" * 2048,
    ],
)  # fmt: skip
def test_hole_29_addresses_that_lead_elsewhere_are_not(url: str) -> None:
    """Not another scheme, no address in digits, no private name, port or user, nothing odd."""
    assert not is_public_https(url)
    for model in CATALOGUE.models():
        for name in model.input_schema["properties"]:
            if name.endswith("_url"):
                content = least_input(model.input_schema) | {name: url}
                assert f"/input/{name}" in faults(model.model, content)


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_is_judged_and_none_is_a_private_address(rest: str, name: str) -> None:
    """Whatever stands behind `https://`, judging it never fails."""
    assert not is_public_https(f"https://{name}.internal/{rest}")
    assert is_public_https(f"https://{rest}") in {True, False}
