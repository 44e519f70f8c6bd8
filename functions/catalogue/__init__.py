"""Every text of the page, the feeds and the alerts for machines, one file for each language in this folder.

The files are in the format of Project Fluent, which the page reads too (docs/adr/0010-fluent.md, docs/translate.md).
A process that says nothing from them imports nothing but this: reading needs the library `fluent.runtime`, of the
extra `api`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluent.runtime import FluentBundle

_FOLDER = Path(__file__).parent
SOURCE = "en"
"""The language that the others are translated from; it says what another lacks."""


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
    """
    name, _, attribute = key.partition(".")
    for one in (language, SOURCE):
        bundle = _bundle(one)
        if not bundle.has_message(name):
            continue
        message = bundle.get_message(name)
        pattern = message.attributes.get(attribute) if attribute else message.value
        if pattern is not None:
            said, _ = bundle.format_pattern(pattern, dict(values))
            return str(said)
    raise KeyError(f"no text {key!r} in {_FOLDER.name}/{language}.ftl or {SOURCE}.ftl: add it")


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
def _bundle(language: str) -> FluentBundle:
    from fluent.runtime import FluentBundle, FluentResource

    # Without the invisible marks that isolate values from a text of the other direction: feeds show them.
    bundle = FluentBundle([language], use_isolating=False)
    bundle.add_resource(FluentResource((_FOLDER / f"{language}.ftl").read_text("utf-8")))
    return bundle
