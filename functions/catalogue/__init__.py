"""Every text of page, captions, feeds, posts and warnings, one file for each language in this folder.

The files are in the format of Project Fluent, which the page reads too (docs/adr/0010-fluent.md, docs/translate.md).
A process that says nothing from them imports nothing but this: reading needs the library `fluent.syntax`, of the
extras `notify` and `api`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from functions.hazards import KINDS, Hazard
from functions.settings import split

if TYPE_CHECKING:
    from functions.catalogue.messages import Messages

log = structlog.get_logger()

_FOLDER = Path(__file__).parent
SOURCE = "en"
"""The language that the others are translated from; it says what another lacks."""
Word = Literal["title", "event", "headline", "subject", "mention"]
"""What a hazard is called, by where it is said."""
OWN = ("en", "ko")
"""The languages that every caption has, and that `functions/hazards.py` names each hazard in."""


@functools.cache
def languages() -> tuple[str, ...]:
    """The languages that have a file, as codes of BCP 47; English first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.ftl"))
    return (SOURCE, *(language for language in found if language != SOURCE))


def path_of(language: str) -> Path | None:
    """The file of a language; None where there is none."""
    return _FOLDER / f"{language}.ftl" if language in languages() else None


def say(language: str, key: str, **values: object) -> str:
    """A text in that language, or in English where it has none.

    Args:
        language: one of `languages()`.
        key: of the text, or `key.attribute`.
        values: what the text has in braces.

    Raises:
        KeyError: no language has that text.
        ValueError: the English text cannot be read, or names a value that was not given.
    """
    name, _, attribute = key.partition(".")
    if language != SOURCE:
        try:
            said = _messages(language).format(name, attribute, values)
        except ValueError as error:
            # A translator's mistake must not hold back an alert.
            log.warning("text_in_english", reason=str(error))
            said = None
        if said is not None:
            return said
    said = _messages(SOURCE).format(name, attribute, values)
    if said is not None:
        return said
    raise KeyError(f"no text {key!r} in {_FOLDER.name}/{language}.ftl or {SOURCE}.ftl: add it")


def name_hazard(hazard: Hazard, language: str, what: Word) -> str:
    """What a language calls a hazard; in English where it has no word for it.

    Args:
        hazard: the hazard.
        language: one of `languages()`.
        what: as in `functions.hazards.Kind`, where English and Korean are: a new hazard is one entry there.
    """
    words = getattr(KINDS[hazard], what)
    if language in OWN:
        return str(getattr(words, language))
    try:
        return say(language, f"hazard-{hazard}" if what == "title" else f"hazard-{hazard}.{what}")
    except KeyError:
        return str(words.en)


def parse_languages(name: str, value: str) -> tuple[str, ...]:
    """The languages that a setting names, each once.

    Args:
        name: the variable.
        value: its value: codes separated by commas.

    Raises:
        ValueError: it names none, or one that has no file.
    """
    named = tuple(dict.fromkeys(split(value)))
    if not named or not set(named) <= set(languages()):
        raise ValueError(f"{name} must be some of {', '.join(languages())}, separated by commas, got {value!r}")
    return named


def negotiate(accepted: str, offered: Iterable[str]) -> str:
    """Which of the offered languages a reader prefers, by an `Accept-Language` header; else the first."""
    choices = tuple(offered)
    wanted = []
    for place, part in enumerate(accepted.split(",")[:20]):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if weight > 0:
            wanted.append((-weight, place, tag.strip().lower()))
    for _, _, tag in sorted(wanted):
        # `ko-KR` is served by `ko`; `*` by whatever comes first.
        found = next((one for one in choices if tag in (one.lower(), "*") or tag.startswith(f"{one.lower()}-")), None)
        if found is not None:
            return found
    return choices[0]


@functools.cache
def _messages(language: str) -> Messages:
    from functions.catalogue.messages import Messages

    return Messages(language, (_FOLDER / f"{language}.ftl").read_text("utf-8"))
