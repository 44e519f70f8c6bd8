"""Texts for posts on other servers: without active links, within their limits, in the chosen languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from functions import catalogue
from functions.event import Caption
from functions.reasons import ADDRESS
from notify.captions.words import fit

Weigh = Callable[[str], int]

# A second language shorter than this is useless.
_WORTH_SAYING = 40
# twitter-text's configuration 3: these code points weigh 1, all others (such as Hangul) 2.
_LIGHT = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
# A dot between a word and a letter makes a link on X ("gate.kr"), and a post with a link costs 13 times as much.
_LINKING_DOT = re.compile(r"(?<=[^\W_])[.。．｡](?=[^\W\d_])")
_MENTION = re.compile(r"[@＠]")


def weigh_for_x(text: str) -> int:
    """The length of a text as X counts it: Korean and emoji count 2.

    X counts a joined emoji as one character, 2; here each of its parts counts, so a text is never longer than counted.

    Source: https://docs.x.com/fundamentals/counting-characters
    """
    composed = unicodedata.normalize("NFC", text)
    return sum(1 if any(first <= ord(c) <= last for first, last in _LIGHT) else 2 for c in composed)


def defuse(text: str) -> str:
    """The text without anything that other servers act on: addresses, names that become links, mentions of accounts."""
    text = ADDRESS.sub("", text)
    return " ".join(_MENTION.sub("at ", _LINKING_DOT.sub("·", text)).split())


def fit_together(caption: Caption, languages: Sequence[str], limit: int, weigh: Weigh = len) -> Caption:
    """Fit the languages into one post: the first gets what it needs, each further one the rest, or nothing.

    Args:
        caption: the full text. One from before a language was added has no text in it; where it has none in any of
            `languages`, the post is in English.
        languages: in their order in the post.
        limit: of the whole post, with a line break between languages.
        weigh: the channel's way of counting.
    """
    said: dict[str, str] = {}
    left = limit
    for language in [name for name in languages if caption.text(name)] or [catalogue.SOURCE]:
        text = defuse(caption.text(language))
        if left < limit:
            left -= 1
            if left < min(_WORTH_SAYING, weigh(text)):
                break
        said[language] = _fit_weight(text, left, weigh)
        left -= weigh(said[language])
    return Caption.of(said)


def join(text: Caption, languages: Sequence[str]) -> str:
    """The languages that have text, a line for each; English where none of them has."""
    return "\n".join(filter(None, map(text.text, languages))) or text.en


def _fit_weight(text: str, limit: int, weigh: Weigh) -> str:
    if weigh(text) <= limit:
        return text
    length = limit
    while length > 0:
        cut = fit(text, length)
        if weigh(cut) <= limit:
            return cut
        length -= 1
    return ""
