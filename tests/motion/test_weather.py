"""The gate in rain: drops that fall on the same place by chance are not motion, and a person still is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from functions.event import Box
from motion import gate as gate_module
from motion.gate import Gate
from motion.look import Rejected
from motion.pixels import Luma
from motion.weather import Precipitation

LOOK_S = 0.2


def rain(looks: int = 100, walks_at: int = 10_000) -> list[Luma]:
    """Looks at a street on which four drops near the lens fall in each picture; later a person walks there."""
    rng = np.random.default_rng(2)
    street = np.kron(rng.uniform(60, 150, (9, 16)), np.ones((20, 20)))
    found = []
    for i in range(looks):
        scene = street + rng.normal(0, 2, street.shape)
        if i >= walks_at:
            x = 100 + 4 * (i - walks_at)
            scene[75:95, x : x + 8] = 15
        for x, y in rng.integers((0, 90), (316, 164), (4, 2)):
            scene[y : y + 16, x : x + 4] += 90
        found.append(np.clip(scene, 0, 255).astype(np.uint8))
    return found


def reported(looks: list[Luma]) -> Iterator[tuple[int, list[Box]]]:
    gate = Gate()
    for i, luma in enumerate(looks):
        yield i, gate.detect(luma, i * LOOK_S)


def test_rain_is_not_motion() -> None:
    assert not [i for i, regions in reported(rain()) if regions and i > 20]


def test_without_patience_rain_would_be_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "_LOOKS_RAIN", gate_module._LOOKS_SMALL)
    assert [i for i, regions in reported(rain()) if regions and i > 20], "or the test above shows nothing"


def test_a_person_in_rain_is_seen_soon() -> None:
    seen = [i for i, regions in reported(rain(80, walks_at=60)) if regions and i >= 60]
    assert seen[0] <= 60 + 7
    assert len(seen) > 8


def test_what_moves_once_in_a_while_is_not_weather() -> None:
    weather, fleck = Precipitation(), Rejected(Box(0.1, 0.1, 0.2, 0.2), "seen once")
    for i in range(100):
        weather.update([fleck] if i % 3 == 0 else [], LOOK_S)
    assert not weather.is_falling
    for _ in range(20):
        weather.update([fleck] * 3, LOOK_S)
    assert weather.is_falling
