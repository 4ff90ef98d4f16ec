"""Inputs of models against their JSON Schemas, before anything is charged for them.

What is told of a fault is where it is and which rule it breaks; what the caller wrote is never
repeated. Addresses must be https and of a public name: the provider fetches them, and is not to
be sent anywhere else on our account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any, Final
from urllib.parse import urlsplit

import jsonschema
from jsonschema.exceptions import ValidationError

from contracts.problems import FieldError

ERRORS_MAX: Final = 20
HTTPS_URL: Final = "https-url"
"""The format that every address in an input must have."""
URL_MAX_CHARACTERS: Final = 2_048
_TEXT_MAX_CHARACTERS: Final = 200
_URL: Final = re.compile(r"https://[!-\[\]-~]+", re.ASCII)  # visible, and no backslash
_PUBLIC_NAME: Final = re.compile(r"([a-z0-9_-]{1,63}\.)+([a-z]{2,63}|xn--[a-z0-9-]{1,59})")
_PRIVATE_ENDS: Final = (
    ".arpa", ".corp", ".home", ".internal", ".intranet", ".invalid", ".lan", ".local",
    ".localdomain", ".localhost", ".onion", ".private",
)  # fmt: skip
_FORMATS: Final = jsonschema.FormatChecker(formats=())


def is_public_https(url: object) -> bool:
    """Whether it is an https URL of a public name: no address in digits, port, or user."""
    if not isinstance(url, str):
        return True  # another rule's business
    if len(url) > URL_MAX_CHARACTERS or not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = (parts.hostname or "").lower()
    if parts.username is not None or port not in {None, 443}:
        return False
    return bool(_PUBLIC_NAME.fullmatch(host)) and not host.endswith(_PRIVATE_ENDS)


_FORMATS.checks(HTTPS_URL)(is_public_https)


def validator_of(schema: dict[str, Any]) -> Any:
    """What judges inputs by this schema."""
    return jsonschema.Draft202012Validator(schema, format_checker=_FORMATS)


def faults_of(validator: Any, content: dict[str, Any]) -> tuple[FieldError, ...]:
    """Where the input breaks which rule, at most `ERRORS_MAX` of them; none when it is fine."""
    found = (fault for error in validator.iter_errors(content) for fault in _told(error))
    return tuple(islice(dict.fromkeys(islice(found, 10 * ERRORS_MAX)), ERRORS_MAX))


def _told(error: ValidationError) -> Iterator[FieldError]:
    pointer = _pointer(error)
    match error.validator:
        case "additionalProperties":
            for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
                where = f"{pointer}/{_escaped(name)}"[:_TEXT_MAX_CHARACTERS]
                yield FieldError(where, "the model does not take this")
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            yield FieldError(pointer, f"needs {', '.join(missing)}")
        case "oneOf" | "anyOf":
            yield from _of_forms(error, pointer)
        case "format":
            yield FieldError(pointer, "must be an https URL of a public host, with no port or user")
        case _:
            rule = f"breaks the rule {error.validator}: {error.validator_value}"
            yield FieldError(pointer, rule[:_TEXT_MAX_CHARACTERS])


def _of_forms(error: ValidationError, pointer: str) -> Iterator[FieldError]:
    """An input that may take several forms: what the nearest of them misses."""
    if not error.context:
        yield FieldError(pointer, "takes several forms at once that exclude each other")
        return
    forms = [list(group) for _, group in groupby(error.context, lambda e: e.schema_path[0])]
    if all(fault.validator == "required" for form in forms for fault in form):
        choices = " or ".join(", ".join(form[0].validator_value) for form in forms)
        yield FieldError(pointer, f"needs {choices}"[:_TEXT_MAX_CHARACTERS])
        return
    for fault in min(forms, key=len):
        yield from _told(fault)


def _pointer(error: ValidationError) -> str:
    return "/input" + "".join(f"/{_escaped(str(part))}" for part in error.absolute_path)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
