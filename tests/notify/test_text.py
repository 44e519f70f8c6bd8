"""Text of posts on external servers: within their limits, and without mentions, tags or links that they act on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import Caption
from notify.channels.x import fit_for_x
from notify.posting.text import defuse, fit_together, join, weigh_for_x
from tests.doubles import weigh

EN = "Fire at Sinchon Market, Seodaemun-gu, Seoul: flames on the left of the picture, 2 people in view. 14:03 KST."
KO = (
    "신촌시장(서울 서대문구)에서 화재가 감지되었습니다. 화면 왼쪽에 불길이 보이고, 사람 2명이 함께 보입니다. 14:03 KST."
)


@pytest.mark.parametrize(
    ("text", "weight"), [("Fire.", 5), ("화재", 4), ("화재 Fire", 9), ("🔥", 2), ("é", 1), ("…", 2), ("–", 1), ("", 0)]
)
def test_korean_and_emoji_weigh_2(text, weight):
    assert weigh_for_x(text) == weight


@given(st.text(max_size=200))
def test_nothing_is_heavier_than_it_was_counted(text):
    assert weigh(text) <= weigh_for_x(text)


def test_both_languages_of_a_usual_alert_fit_into_one_post_on_x():
    said = fit_for_x(Caption(en=EN, ko=KO), 123456, ("ko", "en"))
    assert said == Caption(en=EN, ko=KO)
    assert weigh_for_x(f"{join(said, ('ko', 'en'))} [123456]") <= 280


@given(st.text(max_size=600), st.text(max_size=600), st.integers(1, 10**12), st.sampled_from([("ko", "en"), ("en",)]))
def test_post_on_x_is_never_too_long(en, ko, incident, languages):
    said = fit_for_x(Caption(en=en, ko=ko), incident, languages)
    assert weigh_for_x(f"{join(said, languages)} [{incident}]") <= 280


def test_second_language_is_cut_before_the_first():
    said = fit_together(Caption(en=EN, ko=KO), ("ko", "en"), 220, weigh_for_x)
    assert said.ko == KO and said.en.startswith("Fire at Sinchon Market") and said.en != EN
    said = fit_together(Caption(en=EN, ko=KO), ("ko", "en"), weigh_for_x(KO) + 20, weigh_for_x)
    assert said == Caption(en="", ko=KO)


def test_language_without_a_caption_is_left_out_or_english():
    caption = Caption(en=EN, ko=KO, others={"ja": "火災です。"})
    assert join(fit_together(caption, ("ja", "ko"), 500), ("ja", "ko")) == f"火災です。\n{KO}"
    # An event that waited since before the language was added.
    old = Caption(en=EN, ko=KO)
    assert join(fit_together(old, ("ja", "ko"), 500), ("ja", "ko")) == KO
    assert join(fit_together(old, ("ja",), 500), ("ja",)) == EN


def test_language_that_is_not_asked_for_is_not_said():
    assert fit_together(Caption(en=EN, ko=KO), ("en",), 500) == Caption(en=EN, ko="")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Fire at gate.kr.", "Fire at gate·kr."),
        ("See https://a.example/b?c=d now", "See now"),
        ("rtsp://user:pass@cam/1", ""),
        ("@police at Gate", "at police at Gate"),
        ("신촌.한국 앞", "신촌·한국 앞"),
        ("At 14.30, 3.5 m. Two.", "At 14.30, 3.5 m. Two."),
        ("Gate 5. Hongdae", "Gate 5. Hongdae"),
    ],
)
def test_what_would_become_a_link_or_a_mention_is_plain_text(text, said):
    assert defuse(text) == said
