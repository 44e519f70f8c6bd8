"""The plural category of a number in each language, by the rules of CLDR; `messages.py` chooses variants by it.

`plurals.json` has the rules in gettext's form, which Python's own `gettext` compiles. `make generate` writes it with
Babel, whose import would take longer than a caption does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import msgspec


class _Rule(msgspec.Struct):
    """Languages and categories are separated by spaces; `rule` is a C expression of n for the number of a category."""

    languages: str
    categories: str
    rule: str


def category_of(language: str, n: int) -> str:
    """The category of a whole number: "one" or "other" in English, up to six in other languages.

    Args:
        language: a code of BCP 47; a region decides only where it differs, as in `pt-PT`.
        n: the number.
    """
    categories, number_of = _rule(language)
    return categories[number_of(abs(n))]


@functools.cache
def _rule(language: str) -> tuple[list[str], Callable[[int], int]]:
    # The module is needed only for languages that have plurals.
    from gettext import c2py

    rules = msgspec.json.decode(Path(__file__).with_name("plurals.json").read_bytes(), type=list[_Rule])
    for name in (language, language.partition("-")[0]):
        found = next((rule for rule in rules if name in rule.languages.split()), None)
        if found is not None:
            return found.categories.split(), c2py(found.rule)
    return ["other"], lambda n: 0
