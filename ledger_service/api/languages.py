"""The language of texts for people, by what a request says that its reader understands."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final


class Language(enum.StrEnum):
    """Languages that texts exist in; the first one is for everybody else."""

    EN = "en"
    TR = "tr"
    ES = "es"


ANYTHING: Final = "*"
_MEMBER: Final = re.compile(
    r"(\*|[a-z]{1,8})((?:-[a-z0-9]{1,8})*)"  # a range, its primary part apart
    r"(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


def language_of(accepted: Iterable[bytes]) -> Language:
    """The best one for these `Accept-Language` headers (RFC 9110).

    A regional form is understood as its language (`tr-CY` as `tr`). Of equal weights the one named
    first wins. What cannot be read counts as not said, and who understands none of ours gets the
    first.
    """
    weights = _weights(accepted)
    anything = weights.pop(ANYTHING, 0.0)
    named = [language for language in weights if language in set(Language)]
    others = [language for language in Language if language not in weights]
    candidates = [(weights[name], Language(name)) for name in named]
    candidates += [(anything, language) for language in others]
    weight, best = max(candidates, key=lambda candidate: candidate[0])
    return best if weight > 0 else Language.EN


def language_headers(language: Language) -> tuple[tuple[bytes, bytes], ...]:
    """What an answer with texts says of its language."""
    return ((b"content-language", language.encode()), (b"vary", b"Accept-Language"))


def _weights(accepted: Iterable[bytes]) -> dict[str, float]:
    """Weights by language, or `*`, in the order in which they were named first."""
    found: dict[str, float] = {}
    for value in accepted:
        for member in value.decode("latin-1").lower().split(","):
            match = _MEMBER.fullmatch(member.strip(" \t"))
            if match is None or (match[1] == ANYTHING and match[2]):
                continue
            weight = 1.0 if match[3] is None else float(match[3])
            found[match[1]] = max(weight, found.get(match[1], 0.0))
    return found
