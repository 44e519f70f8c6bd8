"""A caption states only what was detected."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from functions import HAZARDS, Box, Detection, Place
from functions.hazards import KINDS
from notify.captions.districts import District
from notify.captions.words import clean_name, compose, count_things, fit, where

LABELS = ("person", "car", "truck", "bus", "motorcycle", "bicycle", "dog", *HAZARDS)
SEODAEMUN = District(ko="서울 서대문구", en="Seodaemun-gu, Seoul")

pairs = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), pairs, pairs)
scenes = st.lists(st.builds(Detection, st.sampled_from(LABELS), st.floats(0, 1), boxes), max_size=12)

ENGLISH = {
    "person": r"(\d+) (?:person|people)", "car": r"(\d+) cars?", "truck": r"(\d+) trucks?", "bus": r"(\d+) bus(?:es)?",
    "motorcycle": r"(\d+) motorcycles?", "bicycle": r"(\d+) bicycles?",
}  # fmt: skip
KOREAN = {
    "person": r"사람 (\d+)명", "car": r"승용차 (\d+)대", "truck": r"트럭 (\d+)대", "bus": r"버스 (\d+)대",
    "motorcycle": r"오토바이 (\d+)대", "bicycle": r"자전거 (\d+)대",
}  # fmt: skip


AT = datetime(2026, 11, 22, 5, 3, tzinfo=UTC)


def say(hazard, detections, place, district=SEODAEMUN):
    return compose(hazard, detections, place, AT, district=district, camera="gate-1")


def test_fire_is_told_in_english_and_korean():
    scene = [Detection("fire", 0.8, Box(0.05, 0.4, 0.25, 0.6))] + [Detection("person", 0.6, Box(0, 0, 0.1, 0.1))] * 2
    composed = say("fire", scene, Place(37.5585, 126.937, "신촌시장"))
    assert composed.en == (
        "Fire at 신촌시장, Seodaemun-gu, Seoul: flames on the left of the picture, 2 people in view. 14:03 KST."
    )
    assert composed.ko == (
        "신촌시장(서울 서대문구)에서 화재가 감지되었습니다. "
        "화면 왼쪽에 불길이 보이고, 사람 2명이 함께 보입니다. 14:03 KST."
    )


def test_outside_korea_place_and_utc_are_told():
    composed = say("accident", [], Place(51.5, -0.1, "Old Street", "London"), district=None)
    assert composed.en == "Accident at Old Street, London. 05:03 UTC."
    assert composed.ko == "Old Street(London)에서 사고가 감지되었습니다. 05:03 UTC."


def test_place_without_a_name_is_told_by_its_camera():
    assert say("gun", [], Place(0, 0, ""), district=None).en == "Gun seen at camera gate-1. 05:03 UTC."


def test_region_that_the_name_holds_already_is_not_said_twice():
    composed = say("gun", [], Place(51.5, -0.1, "London Bridge, London", "London"), district=None)
    assert composed.en.count("London") == 2


def test_name_with_line_breaks_stays_on_one_line():
    composed = say("fire", [], Place(0, 0, "Gate\n\x1b[31m 1 \t" + "x" * 500), district=None)
    assert "\n" not in composed.en and "\x1b" not in composed.en and len(composed.en) < 200


@given(hazard=st.sampled_from(HAZARDS), scene=scenes)
def test_every_count_is_backed_by_detections(hazard, scene):
    composed = say(hazard, scene, Place(0, 0, "Gate"))
    for text, patterns in ((composed.en, ENGLISH), (composed.ko, KOREAN)):
        shown_time = re.sub(r"\d\d:\d\d", "", text)
        found = {
            label: int(match[1]) for label, pattern in patterns.items() if (match := re.search(pattern, shown_time))
        }
        assert found == count_things(scene)
        assert len(re.findall(r"\d+", shown_time)) == len(found)


@given(hazard=st.sampled_from(HAZARDS), scene=scenes)
def test_every_position_and_hazard_is_backed_by_a_detection(hazard, scene):
    composed = say(hazard, scene, Place(0, 0, "Gate"))
    first = next((d for d in scene if d.label == hazard), None)
    assert (" of the picture" in composed.en) == (first is not None)
    if first is not None:
        across, down = where(first.box)
        spot = re.search(r"(?:on|in|at) the ([a-z ]+) of the picture", composed.en)[1]
        assert (across in spot) == (across != "centre")
        assert ("upper" in spot or "top" in spot) == (down == "upper")
        assert ("lower" in spot or "bottom" in spot) == (down == "lower")
    names = {other: KINDS[other].title.en.lower() for other in HAZARDS}
    said = {other for other, name in names.items() if re.search(rf"\b{name}\b", composed.en.lower())}
    assert said == {hazard} | {d.label for d in scene if d.label in HAZARDS}


@given(hazard=st.sampled_from(HAZARDS), scene=scenes)
def test_nothing_is_said_to_be_absent(hazard, scene):
    composed = say(hazard, scene, Place(0, 0, "Gate"))
    assert not re.search(r"\b(no|none|nobody|empty|safe)\b", composed.en.lower())
    assert "없" not in composed.ko


@given(text=st.text(st.sampled_from("ab 가. …"), max_size=200), limit=st.integers(1, 100))
def test_fitted_text_is_within_its_limit_and_begins_the_text(text, limit):
    fitted = fit(text, limit)
    assert len(fitted) <= limit
    assert text.startswith(fitted.removesuffix("…"))


def test_text_that_is_too_long_is_cut_at_a_sentence_or_a_word():
    assert fit("Fire at the gate. Two people in view.", 30) == "Fire at the gate."
    assert fit("Fire at the northern gate", 15) == "Fire at the…"
    assert fit("short", 15) == "short"


def test_dot_in_the_name_of_a_place_ends_no_sentence():
    at = "Fire at St. Mary's Hospital emergency entrance on Banpo-daero"
    assert fit(f"{at}, Seoul: flames in the lower left of the picture. 14:03 KST.", 60) == f"{at[:49]}…"
    name = "St. Mary's Hospital of the Catholic University of Korea, emergency entrance on the north side, gate 4"
    assert clean_name(name) == "St. Mary's Hospital of the Catholic University of Korea, emergency entrance on…"


def test_uncertain_person_is_covered_but_not_counted():
    unsure = Detection("person", 0.3, Box(0, 0, 0.1, 0.1))
    assert count_things([unsure, Detection("car", 0.5, Box(0, 0, 0.1, 0.1))]) == {"car": 1}
