from __future__ import annotations

import pytest

from functions.catalogue.particles import attach


@pytest.mark.parametrize(
    ("noun", "pair", "said"),
    [
        ("사람", "이/가", "사람이"),
        ("승용차", "을/를", "승용차를"),
        ("버스 1대", "은/는", "버스 1대는"),
        ("신촌시장(서울)", "을/를", "신촌시장(서울)을"),
        ("출구 2", "이/가", "출구 2가"),
        ("출구 3", "이/가", "출구 3이"),
        ("출구 10", "은/는", "출구 10은"),
        ("CCTV", "을/를", "CCTV를"),
        ("동 L", "이/가", "동 L이"),
        ("Gangnam", "을/를", "Gangnam을"),
        ("Plaza", "은/는", "Plaza는"),
        ("Gate", "을/를", "Gate을(를)"),
        ("?", "이/가", "?이(가)"),
        ("", "이/가", "이(가)"),
    ],
)
def test_particle_follows_the_last_sound(noun, pair, said):
    assert attach(noun, pair) == said
