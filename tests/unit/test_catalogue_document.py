"""A catalogue is judged before anything serves: what it gets wrong, a customer would find out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.problems import ProblemCode
from ledger_service.errors import RefusedToStart, Rejected
from ledger_service.generations.catalogue import Catalogue, Switch
from ledger_service.generations.document import load_document, parse_document, shipped
from ledger_service.generations.themes import Themes
from tests.fixtures.naive_prices import least_input

Break = Callable[[dict[str, Any]], object]
PROMPT = {"type": "string", "maxLength": 100}
SHOT = {
    "type": "object", "additionalProperties": False, "required": ["duration"],
    "properties": {"duration": {"enum": ["3"]}},
}  # fmt: skip
ENTRY: dict[str, Any] = {
    "model": "boats",
    "title": "Boats",
    "kind": "video",
    "description": "Boats.",
    "provider": "fal",
    "endpoint": "acme/boats",
    "output": "video",
    "deadline_seconds": 60,
    "price": {
        "type": "per_second",
        "unit_price_millis": 1500,
        "quantity_option": "duration",
        "shots_option": "shots",
        "factors": {"size": {"s": 1000, "l": 2000}, "loud": {"true": 1000, "false": 500}},
    },
    "input_schema": {
        "type": "object",
        "additionalProperties": False,
        "required": ["prompt", "size"],
        "properties": {
            "prompt": PROMPT,
            "size": {"enum": ["s", "l"]},
            "loud": {"type": "boolean", "default": False},
            "duration": {"enum": ["2", "4"], "default": "2"},
            "shots": {"type": "array", "minItems": 1, "maxItems": 4, "items": SHOT},
        },
    },
}


def parsed(*entries: dict[str, Any], **more: Any) -> Catalogue:
    """A catalogue of these models."""
    raw = msgspec.json.encode({"book": 1, "models": entries, **more})
    return Catalogue(parse_document(raw, "test"))


def schema(change: Callable[[dict[str, Any]], object]) -> Break:
    """A change of the schema."""
    return lambda entry: change(entry["input_schema"])


def prop(name: str, **described: Any) -> Break:
    """Another description of one input."""
    return lambda entry: entry["input_schema"]["properties"].__setitem__(name, described)


def rule(**fields: Any) -> Break:
    """Other fields of the price rule."""
    return lambda entry: entry["price"].update(fields)


FAULTS: list[tuple[Break, str]] = [
    (lambda entry: entry.update(prise=1), "unknown field `prise`"),
    (rule(factor={}), "unknown field `factor`"),
    (rule(unit_price_millis=-1), "Expected `int` >= 0"),
    (rule(unit_price_millis=2.5), "Expected `int`, got `float`"),
    (rule(type="per_pixel"), "Invalid enum value"),
    (lambda entry: entry.update(model="Boats/1"), "matching regex"),
    (lambda entry: entry.update(endpoint="https://else.where/x"), "matching regex"),
    (lambda entry: entry.update(provider="nobody"), "Invalid enum value"),
    (lambda entry: entry.update(output="images"), "kind video has no output images"),
    (schema(lambda it: it.update(type="whatever")), "is no JSON Schema"),
    (schema(lambda it: it.update(type="array")), "must describe an object"),
    (schema(lambda it: it.pop("additionalProperties")), "must not take additionalProperties"),
    (schema(lambda it: it["required"].append("colour")), "colour is required and not described"),
    (prop("sync_mode", type="boolean"), "/sync_mode must never be taken"),
    (prop("image_url", type="string"), "/image_url must be of format https-url"),
    (prop("urls", type="array", items={"type": "string"}), "/urls must be of format https-url"),
    (prop("style", **{"$ref": "https://else.where/schema"}), "refers elsewhere"),
    (
        prop("style", type="object", properties={"sync_mode": {}}, additionalProperties=False),
        "/style/sync_mode must never be taken",
    ),
    (prop("style", type="object", properties={"x": {}}), "/style must not take additional"),
    (prop("loud", type="boolean", default="no"), "/loud has a default that it does not take"),
    (prop("loud", type="boolean"), "loud decides the price: it must be required or have a default"),
    (prop("loud", type="string"), "loud has factors and no list of values"),
    (prop("size", enum=["s", "l", "xl"]), "size takes ['l', 's', 'xl'] and has prices for"),
    (rule(factors={"colour": {"red": 1}}), "colour has factors and no list of values"),
    (prop("duration", enum=["2", "4"]), "duration decides the price"),
    (prop("duration", enum=["2", "long"], default="2"), "duration does not count units"),
    (prop("duration", type="integer", default=2), "duration does not count units"),
    (prop("duration", type="integer", minimum=0, maximum=9, default=2), "does not count units"),
    (rule(quantity_option="length"), "length does not count units"),
    (rule(quantity_option=None), "a per_second price and quantity_option None"),
    (rule(type="flat"), "a flat price and quantity_option duration"),
    (prop("shots", type="array", minItems=1, items=SHOT), "shots is no bounded list of shots"),
    (
        prop("shots", type="array", minItems=1, maxItems=4, items=SHOT | {"required": []}),
        "shots is no bounded list of shots",
    ),
    (
        rule(unit_price_millis=10**12, factors={"size": {"s": 1, "l": 10**6}}),
        "can cost more than",
    ),
]


@pytest.mark.parametrize(("damage", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_faulty_catalogue_refuses_to_start(damage: Break, said: str) -> None:
    """Each fault is named, with the model and the place."""
    parsed(ENTRY)
    entry = copy.deepcopy(ENTRY)
    damage(entry)
    with pytest.raises(RefusedToStart, match="catalogue test") as refusal:
        parsed(entry)
    assert said in str(refusal.value)


def test_all_faults_are_told_at_once() -> None:
    """Whoever edits a catalogue mends it in one go."""
    one, two = copy.deepcopy(ENTRY), copy.deepcopy(ENTRY)
    one["output"], two["model"] = "images", "ships"
    two["input_schema"]["additionalProperties"] = True
    with pytest.raises(RefusedToStart) as refusal:
        parsed(one, two, copy.deepcopy(ENTRY))
    for said in ("boats comes twice", "boats: a model of kind", "ships: / must not take"):
        assert said in str(refusal.value)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"book": 0, "models": []}', b"\xff"])
def test_what_is_no_catalogue_refuses_to_start(raw: bytes) -> None:
    """Any bytes get a refusal, never a traceback."""
    with pytest.raises(RefusedToStart, match="catalogue test"):
        parse_document(raw, "test")


def test_a_file_takes_the_place_of_the_shipped_catalogue(tmp_path: Path) -> None:
    """`CATALOGUE_FILE`; one that cannot be read refuses to start."""
    file = tmp_path / "catalogue.json"
    file.write_bytes(msgspec.json.encode({"book": 7, "models": [ENTRY]}))
    assert load_document(str(file)).book == 7
    assert load_document() is shipped()
    with pytest.raises(RefusedToStart, match="No such file"):
        load_document(str(tmp_path / "nowhere.json"))


def test_the_guides_example_is_a_catalogue() -> None:
    """What the how-to shows can be served as it stands."""
    guide = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "prices.md"
    example = guide.read_text().split("```json\n")[1].split("```")[0]
    document = parse_document(example.encode(), "guide")
    (model,) = Catalogue(document).models()
    assert (model.model, model.price, model.book) == ("boats", 20, 2)
    (theme,) = Themes(document, Catalogue(document)).themes()
    assert (theme.theme, theme.price) == ("at-dusk", 10)


def test_the_digest_tells_books_of_one_version_apart() -> None:
    """A price that changed without a new version is seen; the order of names in the file is not."""
    dearer = copy.deepcopy(ENTRY)
    dearer["price"]["unit_price_millis"] += 1
    turned = dict(reversed(ENTRY.items()))
    digests = [
        parse_document(msgspec.json.encode({"book": 1, "models": [entry]}), "test").digest
        for entry in (ENTRY, dearer, turned)
    ]
    assert digests[0] == digests[2] != digests[1]


def test_the_first_model_is_the_cheapest_that_needs_only_a_prompt() -> None:
    """Clients begin with it, and pay 20 credits for its default input."""
    models = Catalogue(shipped()).models()
    simple = [model for model in models if model.input_schema.get("required") == ["prompt"]]
    assert models[0] == min(simple, key=lambda model: model.price)
    assert (models[0].model, models[0].price) == ("veo-3.1-lite", 20)


def test_every_shipped_model_takes_its_least_input() -> None:
    """And shows the price of it."""
    catalogue = Catalogue(shipped())
    for model in catalogue.models():
        least = least_input(model.input_schema)
        assert catalogue.orderable(model.model, least).price(least).total == model.price


def test_a_deprecated_model_can_be_had_until_it_is_not_available() -> None:
    """Deprecated is a word of warning; unavailable is a refusal, and comes last on the list."""
    catalogue = Catalogue(shipped())
    sora = catalogue.model("sora-2-image-to-video")
    assert (sora.deprecated, sora.available) == (True, True)
    least = least_input(sora.input_schema)
    catalogue.orderable(sora.model, least)
    off = {sora.model: Switch(available=False, note="gone")}
    with pytest.raises(Rejected) as refusal:
        catalogue.orderable(sora.model, least, off)
    assert refusal.value.code is ProblemCode.MODEL_UNAVAILABLE
    assert refusal.value.fields["note"] == "gone"
    assert catalogue.models(off)[-1].model == sora.model


def test_the_catalogue_outranks_a_switch() -> None:
    """What it does not offer, nobody can switch on."""
    catalogue = parsed(ENTRY | {"available": False})
    assert not catalogue.model("boats", {"boats": Switch(available=True)}).available
