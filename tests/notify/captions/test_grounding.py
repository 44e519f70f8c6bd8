"""Every word of a caption is backed by data: over generated scenes with zones, clothing and colours."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from functions import HAZARDS, Box, Caption, Detection, Place, Zone
from functions.hazards import KINDS
from notify.captions.attributes import Look
from notify.captions.districts import District
from notify.captions.words import compose, count_things, find_zone, fit, where
from notify.channels.feed import Feed
from notify.channels.x import fit_for_x
from notify.posting.text import fit_together, join, weigh_for_x

AT = datetime(2026, 11, 22, 5, 3, tzinfo=UTC)
SEODAEMUN = District(ko="서울 서대문구", en="Seodaemun-gu, Seoul")
LABELS = ("person", "car", "truck", "bus", "motorcycle", "bicycle", "dog", *HAZARDS)
COLOURS = {
    "white": ("light-coloured", "밝은색"), "gray": ("grey", "회색"), "yellow": ("yellow", "노란색"),
    "red": ("red", "빨간색"), "green": ("green", "초록색"), "blue": ("blue", "파란색"), "black": ("black", "검은색"),
}  # fmt: skip
CLOTHES = {
    "dark_top": ("dark top", "어두운 상의"), "long_sleeves": ("long sleeves", "긴소매"),
    "long_trousers": ("long trousers", "긴바지"), "hat": ("hat or helmet", "모자나 헬멧"),
}  # fmt: skip

pairs = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), pairs, pairs)
detections = st.lists(st.builds(Detection, st.sampled_from(LABELS), st.floats(0, 1), boxes), max_size=8)
# As the attribute reader returns them: clothing of people; colour and doubtful kind of vehicles.
worn = st.frozensets(st.sampled_from(["hat", "long_sleeves", "long_trousers"]))
people = st.builds(Look, worn=worn, dark_top=st.booleans())
vehicles = st.builds(Look, colour=st.sampled_from([None, *COLOURS]), is_doubtful=st.booleans())
corners = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=5).map(tuple)
ZONES = (Caption("the crossing", "횡단보도"), Caption("Gate 2", "2번 출구"))
zones = st.lists(st.builds(Zone, st.sampled_from(ZONES), corners), max_size=3)
hazards = st.sampled_from(HAZARDS)


@st.composite
def scenes(draw):
    found = draw(detections)
    looks = {}
    for place, detection in enumerate(found):
        if detection.label in ("person", "car", "truck", "bus") and draw(st.booleans()):
            looks[place] = draw(people if detection.label == "person" else vehicles)
    return found, looks


def say(hazard, scene, zones=(), remark=""):
    place = Place(37.5585, 126.937, "Sinchon")
    found, looks = scene
    return compose(
        hazard, found, place, AT, district=SEODAEMUN, camera="gate-1", zones=zones, looks=looks, remark=remark
    )


# The allowed words of a caption: none of them identifies a person.
GLUE = re.findall(
    r"\w+",
    "a an also and are at bicycle bicycles bottom bus buses car cars centre in is left lower middle motorcycle "
    "motorcycles near of on people person picture right seen the top truck trucks upper vehicle vehicles view kst",
)
OF_HAZARDS = {
    word
    for kind in KINDS.values()
    for said in (kind.headline, kind.subject, kind.mention)
    for word in said.en.lower().split()
}
ENGLISH = {
    *GLUE,
    *OF_HAZARDS,
    *" ".join(en for en, _ in (*COLOURS.values(), *CLOTHES.values())).replace("-", " ").split(),
}
NAMES = {"sinchon", "seodaemun", "gu", "seoul", "crossing", "gate"}
KOREAN_SEX_AND_AGE = ("남성", "여성", "남자", "여자", "소년", "소녀", "아이", "노인", "청년", "외국인")


@given(hazard=hazards, scene=scenes(), zones=zones)
def test_no_word_is_said_that_no_data_stands_behind(hazard, scene, zones):
    composed = say(hazard, scene, zones)
    assert set(re.findall(r"[a-z]+", composed.en.lower())) <= ENGLISH | NAMES
    assert not any(word in composed.ko for word in KOREAN_SEX_AND_AGE)
    found, looks = scene
    sure = [(d, looks.get(i, Look())) for i, d in enumerate(found) if d.confidence >= 0.5]
    for colour, words in COLOURS.items():
        is_backed = any(look.colour == colour for _, look in sure)
        assert is_backed or not any(
            re.search(rf"\b{word}", text) for word, text in zip(words, texts_of(composed), strict=True)
        )
    for trait, words in CLOTHES.items():
        is_backed = any(trait in look.worn or (trait == "dark_top" and look.dark_top) for _, look in sure)
        assert is_backed or not any(word in text for word, text in zip(words, texts_of(composed), strict=True))


def texts_of(composed):
    return composed.en, composed.ko


@given(hazard=hazards, scene=scenes())
def test_no_more_is_claimed_of_a_colour_than_was_seen(hazard, scene):
    found, looks = scene
    composed = say(hazard, scene)
    counts = count_things(found, looks)
    kinds = {"car": "cars", "truck": "trucks", "bus": "buses", "vehicle": "vehicles"}
    for one, many in kinds.items():
        seen = Counter(
            look.colour
            for i, look in looks.items()
            if found[i].confidence >= 0.5 and look.colour and one == ("vehicle" if look.is_doubtful else found[i].label)
        )
        if match := re.search(rf"The {one} is ([a-z-]+)\.", composed.en):
            assert counts[one] == 1 and {COLOURS[c][0] for c in seen} == {match[1]}
        if match := re.search(rf"Of the {many}, ([^.]+)\.", composed.en):
            said = {colour: int(n) for n, colour in re.findall(r"(\d) (?:is|are) ([a-z-]+)", match[1])}
            assert said == {COLOURS[c][0]: n for c, n in seen.items()} and sum(said.values()) <= counts[one]


@given(hazard=hazards, scene=scenes(), zones=zones)
def test_zone_is_told_only_where_the_hazard_stands_in_it(hazard, scene, zones):
    composed = say(hazard, scene, zones)
    first = next((d for d in scene[0] if d.label == hazard), None)
    zone = find_zone(first.box, zones) if first is not None else None
    assert (" near " in composed.en) == (zone is not None) == ("부근에서" in composed.ko)
    if zone is not None:
        assert f"near {zone.en}," in composed.en and f"{zone.ko} 부근에서" in composed.ko and where(first.box)


@given(hazard=hazards, scene=scenes(), zones=zones, incident=st.integers(1, 10**9), first=st.sampled_from(["ko", "en"]))
def test_caption_fits_every_channel(hazard, scene, zones, incident, first):
    composed = say(hazard, scene, zones)
    languages = ("ko", "en") if first == "ko" else ("en", "ko")
    assert weigh_for_x(f"{join(fit_for_x(composed, incident, languages), languages)} [{incident}]") <= 280
    assert len(join(fit_together(composed, languages, 500), languages)) <= 500
    fed = Feed().fit(composed, incident)
    assert len(fed.en) <= Feed.limit and len(fed.ko) <= Feed.limit


def test_scene_is_told_fluently_in_both_languages():
    spot = Box(0.1, 0.3, 0.3, 0.8)
    found = [Detection(label, 0.8, spot) for label in ("fire", "person", "car", "car")]
    looks = {
        1: Look(worn=frozenset({"long_sleeves", "hat"}), dark_top=True), 2: Look(colour="white"), 3: Look(colour="red")
    }  # fmt: skip
    crossing = Zone(ZONES[0], ((0, 0.5), (1, 0.5), (1, 1), (0, 1)))
    composed = say("fire", (found, looks), [crossing])
    assert composed.en == (
        "Fire at Sinchon, Seodaemun-gu, Seoul: flames near the crossing, on the left of the picture, 1 person and 2 "
        "cars in view. 14:03 KST. The person is in a dark top, long sleeves and a hat or helmet. "
        "Of the cars, 1 is light-coloured and 1 is red."
    )
    assert composed.ko == (
        "Sinchon(서울 서대문구)에서 화재가 감지되었습니다. 화면 왼쪽, 횡단보도 부근에서 불길이 보이고, 사람 1명, "
        "승용차 2대가 함께 보입니다. 14:03 KST. 사람은 어두운 상의, 긴소매를 입고 모자나 헬멧을 쓴 모습입니다. "
        "승용차 가운데 1대는 밝은색, 1대는 빨간색입니다."
    )


def test_scene_is_told_in_japanese():
    spot = Box(0.1, 0.3, 0.3, 0.8)
    found = [Detection(label, 0.8, spot) for label in ("fire", "person", "person", "car", "gun")]
    looks = {
        1: Look(worn=frozenset({"long_sleeves", "hat"}), dark_top=True), 2: Look(dark_top=True), 3: Look(colour="red")
    }  # fmt: skip
    crossing = Zone(Caption("the crossing", "횡단보도", {"ja": "横断歩道"}), ((0, 0.5), (1, 0.5), (1, 1), (0, 1)))
    place = Place(37.5585, 126.937, "Sinchon")
    composed = compose(
        "fire", found, place, AT, district=SEODAEMUN, camera="a", zones=[crossing], looks=looks, languages=("ja", "en")
    )
    assert list(composed.texts) == ["en", "ko", "ja"] and "near the crossing" in composed.en
    assert composed.text("ja") == (
        "Sinchon（Seodaemun-gu, Seoul）で火災を検知しました。画面の左側、横断歩道の付近に炎、ほかに人物2人、"
        "乗用車1台が見えます。銃器も検知しました。14:03 KST。そのうち2人は暗い色の上着を着用して、1人は長袖を着用して、"
        "1人は帽子かヘルメットをかぶっています。乗用車は赤色です。"
    )
    assert fit(composed.text("ja"), 100).endswith("14:03 KST。")


def test_what_the_networks_do_not_agree_on_is_a_vehicle():
    found = [Detection("truck", 0.8, Box(0, 0, 1, 1))]
    composed = say("accident", (found, {0: Look(colour="red", is_doubtful=True)}))
    assert "1 vehicle in view" in composed.en and "truck" not in composed.en and "The vehicle is red." in composed.en
    assert "차량 1대" in composed.ko and "차량은 빨간색입니다." in composed.ko


def test_uncertain_look_is_not_described():
    found = [Detection("car", 0.3, Box(0, 0, 1, 1))]
    assert "red" not in say("accident", (found, {0: Look(colour="red")})).en
