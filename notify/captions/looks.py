"""Sentences about clothing of people and colours of vehicles, in the words of the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from functions import catalogue
from functions.event import Detection
from notify.captions.attributes import Look

# As in the catalogue's `clothes-…`, in this order. Most hats that the network reports are helmets.
_CLOTHES = ("dark_top", "long_sleeves", "long_trousers", "hat")
# Its white includes silver, cream and light green.
_COLOURS = ("white", "gray", "yellow", "red", "green", "blue", "black")
_COUNTED = 4
"""With more things than this, their colours are left out."""


def kind_of(label: str, look: Look | None) -> str:
    """The kind of a thing: "vehicle" where the networks disagree on its kind."""
    return "vehicle" if look is not None and look.is_doubtful else label


@dataclass(frozen=True, slots=True)
class SeenLooks:
    """Clear attributes of one kind of thing, and on how many each was seen."""

    kind: str
    total: int
    """How many of that kind the caption mentions."""
    counts: Mapping[str, int]


def count_looks(
    detections: Sequence[Detection], looks: Mapping[int, Look], counts: Mapping[str, int]
) -> list[SeenLooks]:
    """The attributes of each kind of thing that has clear ones.

    Args:
        detections: detections of the frame.
        looks: clear attributes by index in `detections`, only of those that are counted.
        counts: how many of each kind the caption mentions.
    """
    found = []
    for kind, total in counts.items():
        seen: Counter[str] = Counter()
        for place, look in looks.items():
            if kind_of(detections[place].label, look) == kind:
                seen.update(_traits(kind, look))
        if seen and total <= _COUNTED:
            found.append(SeenLooks(kind, total, seen))
    return found


def describe_look(look: SeenLooks, language: str) -> str:
    """The sentence about one kind of thing."""
    say = partial(catalogue.say, language)
    thing = f"thing-{look.kind}"
    if look.kind == "person":
        worn = [trait for trait in _CLOTHES if look.counts.get(trait)]
        if look.total == 1:
            return say("look-person", what=say(f"{thing}.what"), worn=_worn(worn, language))
        parts = [say("look-people-part", n=look.counts[trait], worn=_worn([trait], language)) for trait in worn]
        return say("look-people", of=say(f"{thing}.of"), parts=list_all(language, parts))
    seen = [(look.counts[colour], say(f"colour-{colour}")) for colour in _COLOURS if look.counts.get(colour)]
    if look.total == 1:
        return say("look-vehicle", what=say(f"{thing}.what"), colour=seen[0][1])
    parts = [say("look-vehicles-part", n=n, colour=colour) for n, colour in seen]
    return say("look-vehicles", of=say(f"{thing}.of"), parts=list_all(language, parts))


def list_all(language: str, items: Sequence[str], *, is_whole: bool = True) -> str:
    """The items in one phrase: "a, b and c"; if it is not whole, "a, b", to which more is joined."""
    phrase = "".join(items[:1])
    for place, item in enumerate(items[1:], 2):
        joint = "list-last" if is_whole and place == len(items) else "list-more"
        phrase = catalogue.say(language, joint, list=phrase, next=item)
    return phrase


def _traits(kind: str, look: Look) -> list[str]:
    if kind != "person":
        return [look.colour] if look.colour is not None else []
    return [name for name in _CLOTHES if (name == "dark_top" and look.dark_top) or name in look.worn]


def _worn(traits: Sequence[str], language: str) -> str:
    """What is worn; some languages have one verb for clothes and another for hats."""
    say = partial(catalogue.say, language)
    clothes = [say(f"clothes-{trait.replace('_', '-')}") for trait in traits if trait != "hat"]
    if "hat" not in traits:
        return say("look-clothes", clothes=list_all(language, clothes))
    if not clothes:
        return say("look-hat", hat=say("clothes-hat"))
    return say("look-clothes-hat", clothes=list_all(language, clothes, is_whole=False), hat=say("clothes-hat"))
