"""Themes are judged with the catalogue, and turn an order into a model with its whole input."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.api.generations import GenerationRequest
from contracts.api.prices import QuoteRequest
from contracts.limits import SUBJECT_MAX_CHARACTERS
from contracts.problems import ProblemCode
from ledger_service.api.body import to_struct
from ledger_service.errors import RefusedToStart, Rejected
from ledger_service.generations.catalogue import Catalogue, Switch
from ledger_service.generations.document import parse_document, shipped
from ledger_service.generations.themes import Themes
from tests.unit.test_catalogue_document import ENTRY

Break = Callable[[dict[str, Any]], object]
MODEL = copy.deepcopy(ENTRY)
MODEL["input_schema"]["properties"]["prompt"] = {"type": "string", "maxLength": 330}
THEME: dict[str, Any] = {
    "theme": "dusk",
    "title": "At dusk",
    "description": "In the evening.",
    "model": "boats",
    "prompt": "{subject} at dusk",
    "settings": {"size": "l", "duration": "4"},
}


def parsed(*themes: dict[str, Any], **more: Any) -> Themes:
    """A catalogue of one model with these themes."""
    raw = msgspec.json.encode({"book": 1, "models": [MODEL], "themes": themes, **more})
    document = parse_document(raw, "test")
    return Themes(document, Catalogue(document))


BOATS = Catalogue(parse_document(msgspec.json.encode({"book": 1, "models": [MODEL]}), "test"))
DUSK = parsed(THEME)


def setting(**values: Any) -> Break:
    """Other settings."""
    return lambda theme: theme["settings"].update(values)


FAULTS: list[tuple[Break, str]] = [
    (lambda theme: theme.update(thumbnail="x"), "unknown field `thumbnail`"),
    (lambda theme: theme.update(theme="At Dusk"), "matching regex"),
    (lambda theme: theme.update(featured="yes"), "Expected `bool`"),
    (lambda theme: theme.update(prompt=""), "length >= 1"),
    (lambda theme: theme.pop("prompt"), "missing required field `prompt`"),
    (lambda theme: theme.update(model="ships"), "theme dusk: there is no model ships"),
    (lambda theme: theme.update(prompt="{subject} and {subject}"), "{subject} more than once"),
    (lambda theme: theme.update(prompt="{subjct} at dusk"), "a brace that is no part of"),
    (lambda theme: theme.update(prompt="a boat}"), "a brace that is no part of"),
    (lambda theme: theme.update(prompt="{subject} " + "x" * 30), "/prompt breaks the rule maxLen"),
    (setting(prompt="a boat"), "its settings have a prompt of their own"),
    (setting(size="xl"), "theme dusk: /size breaks the rule enum"),
    (setting(colour="red"), "theme dusk: /colour the model does not take this"),
    (setting(loud="no"), "theme dusk: /loud breaks the rule type"),
]


@pytest.mark.parametrize(("damage", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_faulty_theme_refuses_to_start(damage: Break, said: str) -> None:
    """Each fault is named, with the theme and the place."""
    parsed(THEME)
    theme = copy.deepcopy(THEME)
    damage(theme)
    with pytest.raises(RefusedToStart, match="catalogue test") as refusal:
        parsed(theme)
    assert said in str(refusal.value)


def test_names_of_themes_are_unique_and_models_without_prompts_have_none() -> None:
    """A name is what an order is made by; a prompt must have somewhere to go."""
    with pytest.raises(RefusedToStart, match="theme dusk comes twice"):
        parsed(THEME, THEME)
    mute = copy.deepcopy(MODEL)
    del mute["input_schema"]["properties"]["prompt"]
    mute["input_schema"]["required"].remove("prompt")
    with pytest.raises(RefusedToStart, match="theme dusk: its model takes no prompt"):
        parsed(THEME, models=[mute])


def test_a_faulty_model_is_not_told_again_by_its_themes() -> None:
    """What has to be mended is the model."""
    faulty = copy.deepcopy(MODEL)
    faulty["input_schema"]["additionalProperties"] = True
    with pytest.raises(RefusedToStart) as refusal:
        parsed(THEME, models=[faulty])
    assert "theme" not in str(refusal.value)


def test_themes_leave_the_digest_of_the_book_alone() -> None:
    """It is about prices; those of a catalogue without themes are as they always were."""
    raws = [{"book": 1, "models": [MODEL]}, {"book": 1, "models": [MODEL], "themes": [THEME]}]
    digests = {parse_document(msgspec.json.encode(raw), "test").digest for raw in raws}
    assert digests == {"c56624fb42f3f413"}


def test_themes_are_shown_featured_first_and_what_cannot_be_had_last() -> None:
    """In the document's order otherwise, with the price of their settings."""
    names = ["plain", "off", "best", "late"]
    themes = [THEME | {"theme": name} for name in names]
    themes[1] |= {"available": False, "featured": True}
    themes[2] |= {"featured": True, "settings": {}}
    shown = parsed(*themes).themes()
    assert [theme.theme for theme in shown] == ["best", "plain", "late", "off"]
    assert [theme.price for theme in shown[:2]] == [2, 6]  # of the first size, not loud
    switched = parsed(*themes).themes({"boats": Switch(available=False)})
    assert [theme.available for theme in switched] == [False] * 4


def asking(**fields: Any) -> GenerationRequest:
    """An order as it came."""
    return to_struct({"account_id": "a", **fields}, GenerationRequest)


def test_an_order_is_the_themes_settings_under_the_callers_input() -> None:
    """Prompt from the theme, or the caller's own as a whole; the model may be left out."""
    themes = parsed(THEME, THEME | {"theme": "fixed", "prompt": "a boat"})
    wish = themes.wish(asking(theme="dusk", subject="a ship", input={"size": "s", "loud": True}))
    assert (wish.model, wish.theme) == ("boats", "dusk")
    assert wish.content == {
        "prompt": "a ship at dusk", "size": "s", "duration": "4", "loud": True,
    }  # fmt: skip
    named = themes.wish(asking(theme="fixed", model="boats"))
    assert named.content == {"prompt": "a boat", **THEME["settings"]}
    own = themes.wish(asking(theme="dusk", input={"prompt": "my own"}))
    assert own.content == {"prompt": "my own", **THEME["settings"]}
    plain = themes.wish(QuoteRequest(model="ships", input={"prompt": "x"}))
    assert (plain.model, plain.content, plain.theme) == ("ships", {"prompt": "x"}, None)


@given(st.text(min_size=1, max_size=SUBJECT_MAX_CHARACTERS).filter(lambda text: text.strip()))
def test_any_subject_is_words_and_fits(subject: str) -> None:
    """Whatever it says stands in the prompt as it came, once, and the model takes it."""
    wish = DUSK.wish(asking(theme="dusk", subject=subject))
    assert wish.content["prompt"] == subject + " at dusk"
    BOATS.orderable(wish.model, wish.content)


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"theme": "dusk"}, ["/subject"]),
        ({"theme": "fixed", "subject": "a boat"}, ["/subject"]),
        ({"theme": "dusk", "subject": "a", "input": {"prompt": "b"}}, ["/subject"]),
        ({"theme": "dusk", "subject": "a", "model": "ships"}, ["/model"]),
        ({"theme": "dusk", "model": "ships"}, ["/model", "/subject"]),
        ({}, ["/model"]),
        ({"subject": "a"}, ["/model", "/subject"]),
        ({"model": "boats", "subject": "a"}, ["/subject"]),
    ],
)
def test_an_order_that_makes_no_sense_is_told_where(
    fields: dict[str, Any], pointers: list[str]
) -> None:
    """All faults at once."""
    themes = parsed(THEME, THEME | {"theme": "fixed", "prompt": "a boat"})
    with pytest.raises(Rejected) as refusal:
        themes.wish(asking(**fields))
    assert refusal.value.code is ProblemCode.VALIDATION_FAILED
    assert [fault.pointer for fault in refusal.value.errors] == pointers


@pytest.mark.parametrize("subject", ["", "  \n ", "x" * (SUBJECT_MAX_CHARACTERS + 1), 7])
def test_a_subject_is_bounded(subject: Any) -> None:
    """It has something to say, and not too much."""
    with pytest.raises(Rejected) as refusal:
        asking(theme="dusk", subject=subject)
    assert [fault.pointer for fault in refusal.value.errors] == ["/subject"]


def test_a_theme_that_is_not_there_or_not_on_offer_is_refused() -> None:
    """Unknown is not found; off is unavailable, and comes before faults of the order."""
    themes = parsed(THEME | {"available": False})
    with pytest.raises(Rejected) as refusal:
        themes.wish(asking(theme="x" * 99))
    assert (refusal.value.code, refusal.value.fields) == (
        ProblemCode.THEME_NOT_FOUND,
        {"theme": "x" * 64},
    )
    with pytest.raises(Rejected) as refusal:
        themes.wish(asking(theme="dusk"))
    assert refusal.value.code is ProblemCode.MODEL_UNAVAILABLE
    assert refusal.value.fields == {"model": "boats", "theme": "dusk", "note": None}


def test_every_shipped_theme_can_be_ordered_for_what_it_shows() -> None:
    """With a subject where it takes one, and an image where its model needs one."""
    document = shipped()
    catalogue = Catalogue(document)
    themes = Themes(document, catalogue)
    shown = themes.themes()
    assert len(shown) == 4
    assert [theme.featured for theme in shown] == [True, True, False, False]
    for theme in shown:
        needs_image = "image_url" in catalogue.model(theme.model).input_schema["required"]
        content = {"image_url": "https://images.example.com/1.png"} if needs_image else {}
        subject = "a paper boat" if theme.takes_subject else None
        wish = themes.wish(QuoteRequest(theme=theme.theme, subject=subject, input=content))
        offer = catalogue.orderable(wish.model, wish.content)
        assert offer.price(wish.content).total == theme.price
