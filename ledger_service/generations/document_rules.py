"""What a catalogue's schemas and prices must be like; each function names every fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema

from contracts.api.prices import PriceRule, PriceType
from contracts.limits import AMOUNT_MAX_CREDITS
from ledger_service.domain.generation.pricing import (
    MILLIS,
    QUANTITY_MAX,
    SHOT_DURATION,
    whole_units,
    word,
)
from ledger_service.generations.inputs import HTTPS_URL, validator_of

FORBIDDEN: Final = frozenset({"sync_mode"})
"""Answers with the media inline, which nothing could bound."""
_ADDRESS: Final = re.compile(r"(.*_)?urls?", re.IGNORECASE)

Properties = Mapping[str, dict[str, Any]]


def schema_faults(schema: dict[str, Any]) -> Iterator[str]:
    """Faults of an input's schema."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        yield f"input_schema is no JSON Schema: {error.message[:200]}"
        return
    if schema.get("type") != "object" or not schema.get("properties"):
        yield "input_schema must describe an object with properties"
        return
    yield from _closed(schema, "")
    for name in schema.get("required", []):
        if name not in schema["properties"]:
            yield f"{name} is required and not described"


def _closed(node: Any, path: str) -> Iterator[str]:
    """Faults of a schema and all schemas below it."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _closed(item, f"{path}/{number}")
        return
    if not isinstance(node, dict):
        return
    if "$ref" in node or "$dynamicRef" in node:
        yield f"{path or '/'} refers elsewhere; a schema stands alone"
    if isinstance(properties := node.get("properties"), dict):
        if node.get("additionalProperties") is not False:
            yield f"{path or '/'} must not take additionalProperties"
        for name, schema in properties.items():
            yield from _property_faults(name, schema, f"{path}/{name}")
    for word_, below in node.items():
        if word_ not in {"properties", "default", "enum", "const", "examples"}:
            yield from _closed(below, f"{path}/{word_}")


def _property_faults(name: str, schema: Any, path: str) -> Iterator[str]:
    if name in FORBIDDEN:
        yield f"{path} must never be taken"
    if not isinstance(schema, dict):
        yield f"{path} must be described"
        return
    if _ADDRESS.fullmatch(name) and not _is_address(schema):
        yield f"{path} must be of format {HTTPS_URL}, or an array of such"
    if "default" in schema and not validator_of(schema).is_valid(schema["default"]):
        yield f"{path} has a default that it does not take"
    yield from _closed(schema, path)


def _is_address(schema: dict[str, Any]) -> bool:
    if schema.get("type") == "array":
        return _is_address(schema.get("items") or {})
    return (schema.get("type"), schema.get("format")) == ("string", HTTPS_URL)


def price_faults(rule: PriceRule, schema: dict[str, Any], properties: Properties) -> Iterator[str]:
    """What a sound schema can ask for and the rule has no price for, and the other way round."""
    required, most = frozenset(schema.get("required", ())), 1
    if (rule.quantity_option is None) != (rule.type is PriceType.FLAT):
        yield f"a {rule.type} price and quantity_option {rule.quantity_option}"
    elif rule.quantity_option is not None:
        named = properties.get(rule.quantity_option)
        units = _units(named)
        if units is None:
            yield f"{rule.quantity_option} does not count units from 1 to {QUANTITY_MAX}"
        elif not _is_certain(rule.quantity_option, properties, required):
            yield f"{rule.quantity_option} decides the price: it must be required or have a default"
        most = max(units or [1])
    if rule.shots_option is not None:
        shots = _shots(rule, properties)
        if shots is None:
            yield f"{rule.shots_option} is no bounded list of shots with a required duration"
        most = max(most, shots or 1)
    for option, table in rule.factors.items():
        yield from _factor_faults(option, table, properties, required)
    yield from _bound(rule, most)


def _factor_faults(
    option: str, table: Mapping[str, int], properties: Properties, required: frozenset[str]
) -> Iterator[str]:
    values = _values(properties.get(option))
    if values is None:
        yield f"{option} has factors and no list of values"
    elif {word(value) for value in values} != table.keys():
        yield f"{option} takes {sorted(map(word, values))} and has prices for {sorted(table)}"
    elif not _is_certain(option, properties, required):
        yield f"{option} decides the price: it must be required or have a default"


def _bound(rule: PriceRule, most: int) -> Iterator[str]:
    dearest, scale = most * rule.unit_price_millis, MILLIS
    for table in rule.factors.values():
        dearest *= max(table.values(), default=MILLIS)
        scale *= MILLIS
    if dearest > AMOUNT_MAX_CREDITS * scale:
        yield f"it can cost more than {AMOUNT_MAX_CREDITS} credits"


def _is_certain(option: str, properties: Properties, required: frozenset[str]) -> bool:
    return option in required or "default" in properties[option]


def _values(schema: dict[str, Any] | None) -> list[Any] | None:
    if schema is None:
        return None
    if schema.get("type") == "boolean":
        return [True, False]
    found = schema.get("enum")
    return found if isinstance(found, list) else None


def _units(schema: dict[str, Any] | None) -> list[int] | None:
    """The quantities that an option can ask for; of a range, its ends."""
    if schema is None:
        return None
    values = schema.get("enum")
    if values is None and schema.get("type") == "integer":
        values = [schema.get("minimum"), schema.get("maximum")]
    units = [whole_units(value) for value in values or [None]]
    return None if None in units else [unit for unit in units if unit is not None]


def _shots(rule: PriceRule, properties: Properties) -> int | None:
    """The most units that a list of shots can ask for."""
    schema = properties.get(str(rule.shots_option), {})
    items, most = schema.get("items") or {}, schema.get("maxItems")
    units = _units(items.get("properties", {}).get(SHOT_DURATION))
    is_list = schema.get("type") == "array" and schema.get("minItems", 0) >= 1
    if not is_list or not most or units is None or rule.type is not PriceType.PER_SECOND:
        return None
    return most * max(units) if SHOT_DURATION in items.get("required", []) else None
