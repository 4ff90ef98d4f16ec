"""What a catalogue's themes must be like, and how a subject gets into a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from contracts.limits import SUBJECT_MAX_CHARACTERS
from ledger_service.generations.inputs import faults_of, validator_of

PROMPT: Final = "prompt"
"""The input of a model that a theme's prompt goes to."""
SUBJECT_PLACE: Final = "{subject}"


def takes_subject(prompt: str) -> bool:
    """Whether the prompt has a place for the caller's words."""
    return SUBJECT_PLACE in prompt


def with_subject(prompt: str, subject: str | None) -> str:
    """The prompt as the model is told it. A subject is words, whatever stands in it."""
    return prompt.replace(SUBJECT_PLACE, subject or "")


def theme_faults(prompt: str, settings: Mapping[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Faults of a theme over a model with a sound schema. What the model needs besides may be left
    to whoever orders."""
    if prompt.count(SUBJECT_PLACE) > 1:
        yield f"its prompt has {SUBJECT_PLACE} more than once"
    if set("{}") & set(prompt.replace(SUBJECT_PLACE, "")):
        yield f"its prompt has a brace that is no part of {SUBJECT_PLACE}"
    if PROMPT not in schema["properties"]:
        yield "its model takes no prompt"
        return
    if PROMPT in settings:
        yield "its settings have a prompt of their own"
    longest = with_subject(prompt, "x" * SUBJECT_MAX_CHARACTERS)
    loose = {name: rule for name, rule in schema.items() if name != "required"}
    for fault in faults_of(validator_of(loose), {**settings, PROMPT: longest}):
        where = fault.pointer.removeprefix("/input") or "/"
        yield f"{where} {fault.detail}"
