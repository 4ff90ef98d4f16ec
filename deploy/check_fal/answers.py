"""What a provider said to a question, in a form in which two providers' words can be compared."""

from __future__ import annotations

from typing import Any, Final

import httpx
import msgspec

_COMPARED: Final = ("status", "error_type")
_SHOWN: Final = (*_COMPARED, "detail", "error")
"""What is shown of a JSON body; of everything else only the name is."""


class Answer(msgspec.Struct, frozen=True):
    """`text` is shown; `gist` is compared: it has no times, no ids and nobody's wording."""

    text: str
    gist: str


class Unasked(Exception):
    """The question could not be put, or what came back is no answer to it."""


def word_of(answer: httpx.Response) -> str:
    """The word in a status's body, such as IN_QUEUE."""
    return str(_body(answer).get("status", "?"))


def words_of(answer: httpx.Response) -> Answer:
    """Status code and body of an HTTP answer; errors as they are, inputs and URLs not at all."""
    body, code = _body(answer), answer.status_code
    if not body:
        kind = answer.headers.get("content-type", "nothing").partition(";")[0]
        return Answer(f"{code} {kind}", f"{code} {kind}")
    shown = {name: _types(body[name]) for name in _SHOWN if name in body}
    others = ", ".join(sorted(name for name in body if name not in _SHOWN))
    text = f"{code} {msgspec.json.encode(shown).decode()}"
    words = [str(body[name]) for name in _COMPARED if name in body]
    if isinstance(body.get("detail"), list):
        words += map(str, _types(body["detail"]))
    return Answer(f"{text} and {others}" if others else text, " ".join([str(code), *words]))


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _types(value: Any) -> Any:
    """Of a list of errors their types: their inputs may be long, and are nobody's business."""
    if isinstance(value, list):
        return [item.get("type") if isinstance(item, dict) else "?" for item in value]
    return value
