"""Sentences about clothing of people and colours of vehicles, in English and Korean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from functions.event import Caption, Detection
from notify.captions.attributes import Colour, Look
from notify.captions.particles import attach

# Most hats that the network reports are helmets, and its white includes silver, cream and light green.
_CLOTHES = {
    "dark_top": ("a dark top", "어두운 상의"),
    "long_sleeves": ("long sleeves", "긴소매"),
    "long_trousers": ("long trousers", "긴바지"),
    "hat": ("a hat or helmet", "모자나 헬멧"),
}
_COLOURS: dict[Colour, tuple[str, str]] = {
    "white": ("light-coloured", "밝은색"), "gray": ("grey", "회색"), "yellow": ("yellow", "노란색"),
    "red": ("red", "빨간색"), "green": ("green", "초록색"), "blue": ("blue", "파란색"), "black": ("black", "검은색"),
}  # fmt: skip
_COUNTED = 4
"""With more things than this, their colours are left out."""


def kind_of(label: str, look: Look | None) -> str:
    """The kind of a thing: "vehicle" where the networks disagree on its kind."""
    return "vehicle" if look is not None and look.is_doubtful else label


def describe_looks(
    detections: Sequence[Detection],
    looks: Mapping[int, Look],
    counts: Mapping[str, int],
    names: Mapping[str, Sequence[str]],
) -> list[Caption]:
    """A sentence for each kind of thing that has clear attributes.

    Args:
        detections: detections of the frame.
        looks: clear attributes by index in `detections`, only of those that are counted.
        counts: how many of each kind the caption mentions.
        names: by kind: singular and plural in English, noun and counting word in Korean.
    """
    sentences = []
    for kind, total in counts.items():
        seen: Counter[str] = Counter()
        for place, look in looks.items():
            if kind_of(detections[place].label, look) == kind:
                seen.update(_traits(kind, look))
        if seen and total <= _COUNTED:
            describe = _describe_people if kind == "person" else _describe_vehicles
            sentences.append(describe(seen, total, names[kind]))
    return sentences


def _traits(kind: str, look: Look) -> list[str]:
    if kind != "person":
        return [look.colour] if look.colour is not None else []
    return [name for name in _CLOTHES if (name == "dark_top" and look.dark_top) or name in look.worn]


def _describe_people(seen: Counter[str], total: int, names: Sequence[str]) -> Caption:
    one, many, noun, counter = names
    worn = [trait for trait in _CLOTHES if seen[trait]]
    if total == 1:
        english = _listed([_CLOTHES[trait][0] for trait in worn])
        return Caption(en=f"The {one} is in {english}.", ko=f"{attach(noun, '은/는')} {_wearing(worn)} 모습입니다.")
    english = _listed([f"{seen[trait]} {_are(seen[trait])} in {_CLOTHES[trait][0]}" for trait in worn])
    korean = ", ".join(f"{seen[trait]}{attach(counter, '은/는')} {_wearing([trait])} 모습" for trait in worn)
    return Caption(en=f"Of the {many}, {english}.", ko=f"{noun} 가운데 {korean}입니다.")


def _wearing(worn: Sequence[str]) -> str:
    """Korean uses one verb for wearing clothes and another for hats."""
    clothes = ", ".join(_CLOTHES[trait][1] for trait in worn if trait != "hat")
    if "hat" not in worn:
        return f"{attach(clothes, '을/를')} 입은"
    hat = f"{attach(_CLOTHES['hat'][1], '을/를')} 쓴"
    return f"{attach(clothes, '을/를')} 입고 {hat}" if clothes else hat


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _describe_vehicles(seen: Counter[str], total: int, names: Sequence[str]) -> Caption:
    one, many, noun, counter = names
    colours = [(*words, seen[colour]) for colour, words in _COLOURS.items() if seen[colour]]
    if total == 1:
        english, korean, _ = colours[0]
        return Caption(en=f"The {one} is {english}.", ko=f"{attach(noun, '은/는')} {korean}입니다.")
    english = _listed([f"{n} {_are(n)} {en}" for en, _, n in colours])
    korean = ", ".join(f"{n}{attach(counter, '은/는')} {ko}" for _, ko, n in colours)
    return Caption(en=f"Of the {many}, {english}.", ko=f"{noun} 가운데 {korean}입니다.")


def _listed(items: Sequence[str]) -> str:
    return "".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} and {items[-1]}"
