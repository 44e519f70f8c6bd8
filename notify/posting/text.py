"""What a post may say on other people's servers: harmless, short enough as they count, and in the chosen languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

from functions.event import Caption
from functions.reasons import ADDRESS
from notify.captions.words import fit

Language = Literal["ko", "en"]
Weigh = Callable[[str], int]

# Less of a second language than this says nothing.
_WORTH_SAYING = 40
# twitter-text's configuration 3: these code points weigh 1, all others (Hangul among them) 2.
_LIGHT = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
# A dot between a word and a letter makes a link on X ("gate.kr"), and a post with a link costs 13 times as much.
_LINKING_DOT = re.compile(r"(?<=[^\W_])[.。．｡](?=[^\W\d_])")
_MENTION = re.compile(r"[@＠]")


def weigh_for_x(text: str) -> int:
    """The length of a text as X counts it: Korean and emoji count 2.

    X counts a whole joined emoji as one, 2; here each of its parts counts, so a text is never longer than was counted.

    Source: https://docs.x.com/fundamentals/counting-characters
    """
    composed = unicodedata.normalize("NFC", text)
    return sum(1 if any(first <= ord(c) <= last for first, last in _LIGHT) else 2 for c in composed)


def defuse(text: str) -> str:
    """The text without what other servers would act on: addresses, names that become links, mentions of accounts."""
    text = ADDRESS.sub("", text)
    return " ".join(_MENTION.sub("at ", _LINKING_DOT.sub("·", text)).split())


def fit_together(caption: Caption, languages: Sequence[Language], limit: int, weigh: Weigh = len) -> Caption:
    """Both languages in one post: the first has what it needs, the second what is left, or nothing.

    Args:
        caption: what there is to say.
        languages: in the order they are said.
        limit: of all together, with a line break between them.
        weigh: how the channel counts.
    """
    said: dict[str, str] = {"en": "", "ko": ""}
    left = limit
    for language in languages:
        text = defuse(getattr(caption, language))
        if left < limit:
            left -= 1
            if left < min(_WORTH_SAYING, weigh(text)):
                break
        said[language] = _fit_weight(text, left, weigh)
        left -= weigh(said[language])
    return Caption(en=said["en"], ko=said["ko"])


def join(text: Caption, languages: Sequence[Language]) -> str:
    """The languages that say something, a line for each."""
    return "\n".join(filter(None, (getattr(text, language) for language in languages)))


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
