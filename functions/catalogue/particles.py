"""Korean particles, which depend on the last sound of the word before them: 이 or 가, 은 or 는, 을 or 를.

A text of the catalogue has them by `{ PARTICLE($noun, pair: "이/가") }`.
"""

from __future__ import annotations

# Read aloud as 영 일 이 삼 사 오 육 칠 팔 구; 십, 백, 천 and 만 end in a consonant like 영.
_DIGITS = {digit: digit in "013678" for digit in "0123456789"}
# 엘, 엠, 엔 and 알; the Korean names of all other letters end in a vowel.
_CONSONANT_LETTERS = "LMNR"


def attach(noun: str, pair: str) -> str:
    """The noun with the right particle of a pair such as "이/가"; with both, "이(가)", where its last sound is unknown.

    Raises:
        ValueError: the pair is not of two.
    """
    with_consonant, with_vowel = pair.split("/")
    ends = _ends_in_consonant(noun)
    if ends is None:
        return f"{noun}{with_consonant}({with_vowel})"
    return f"{noun}{with_consonant if ends else with_vowel}"


def _ends_in_consonant(noun: str) -> bool | None:
    spoken = noun.rstrip(" )]}'\"”’.,!?…")
    last = spoken[-1:]
    if "가" <= last <= "힣":
        return (ord(last) - 0xAC00) % 28 != 0
    if last in _DIGITS and last:
        return _DIGITS[last]
    if last.isascii() and last.isupper():
        return last in _CONSONANT_LETTERS
    if last.isascii() and last.islower():
        # Gate is 게이트 but apple is 애플, and Market 마켓 but Park 파크: only some endings are certain.
        if last in "lmn":
            return True
        return False if last in "aiouy" else None
    return None
