from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.variants import PERSON_S, QUIET_S, far_person
from functions.event import Box
from motion.gate import CALIBRATION_S, Gate
from motion.look import GateSettings

LOOK_S = 0.2
STANDING_S = GateSettings().standing_s
SIZE = (180, 320)
Luma = NDArray[np.uint8]


def street(seed: int = 1) -> NDArray[np.float64]:
    """A quiet scene with texture."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 180, (SIZE[0] // 20, SIZE[1] // 20))
    return np.kron(coarse, np.ones((20, 20)))


def shown(scene: NDArray[np.float64], noise: float, rng: np.random.Generator) -> Luma:
    return np.clip(scene + rng.normal(0, noise, scene.shape), 0, 255).astype(np.uint8)


class Camera:
    """Feeds drawn pictures to a gate at five a second."""

    def __init__(self, settings: GateSettings | None = None, noise: float = 3.0) -> None:
        self.gate = Gate(settings)
        self.noise = noise
        self.at_s = 100.0
        self.rng = np.random.default_rng(7)

    def detect(self, scene: NDArray[np.float64]) -> list[Box]:
        self.at_s += LOOK_S
        return self.gate.detect(shown(scene, self.noise, self.rng), self.at_s)

    def watch(self, scene: NDArray[np.float64], seconds: float) -> list[list[Box]]:
        return [self.detect(scene) for _ in range(round(seconds / LOOK_S))]


def with_block(scene: NDArray[np.float64], x: int, y: int, side: int = 24, level: float = 240.0) -> NDArray[np.float64]:
    drawn = scene.copy()
    drawn[y : y + side, x : x + side] = level
    return drawn


def crossing(camera: Camera, scene: NDArray[np.float64], looks: int = 12) -> list[list[Box]]:
    return [camera.detect(with_block(scene, 40 + 12 * i, 90)) for i in range(looks)]


def test_a_quiet_noisy_scene_is_quiet() -> None:
    camera = Camera(noise=6.0)
    assert not any(camera.watch(street(), 20))


def test_gate_reports_nothing_while_calibrating() -> None:
    camera = Camera()
    camera.detect(street())
    assert camera.gate.is_calibrating
    camera.watch(street(), CALIBRATION_S)
    assert not camera.gate.is_calibrating
    assert any(crossing(camera, street(), looks=3))


def test_a_moving_object_is_found_where_it_is() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    found = crossing(camera, street())
    assert all(found[1:])
    for i, boxes in enumerate(found[1:], 1):
        x, y = boxes[0].center
        assert x == pytest.approx((40 + 12 * i + 12) / 320, abs=0.06)
        assert y == pytest.approx((90 + 12) / 180, abs=0.06)


def test_regions_come_largest_first() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    for i in range(3):
        boxes = camera.detect(with_block(with_block(street(), 20 + 9 * i, 20, 16), 200 + 9 * i, 120, 40))
    assert [box.area for box in boxes] == sorted((box.area for box in boxes), reverse=True)
    assert boxes[0].center[0] > 0.5


def test_something_seen_only_once_is_not_motion() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    assert camera.detect(with_block(street(), 100, 60)) == []
    assert not any(camera.watch(street(), 2))


def test_something_too_small_is_not_motion() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    assert not any(camera.detect(with_block(street(), 40 + 4 * i, 60, side=3)) for i in range(10))


def test_a_sensitive_gate_sees_what_a_dull_one_does_not() -> None:
    found = {}
    for sensitivity in (0.0, 1.0):
        camera = Camera(GateSettings(sensitivity))
        camera.watch(np.full(SIZE, 100.0), 3)
        moves = [with_block(np.full(SIZE, 100.0), 40 + 8 * i, 60, 9, 122) for i in range(8)]
        found[sensitivity] = any(camera.detect(scene) for scene in moves)
    assert found == {0.0: False, 1.0: True}


def test_light_change_is_not_motion() -> None:
    camera = Camera()
    camera.watch(street(), 6)
    assert not any(camera.watch(street() * 0.45 + 20, 4))
    assert any(crossing(camera, street() * 0.45 + 20))


def test_light_that_fades_is_not_motion() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    assert not any(camera.detect(street() * (1 - 0.006 * i)) for i in range(75))


def test_inverted_picture_is_not_motion() -> None:
    camera = Camera()
    camera.watch(street(), 6)
    assert not any(camera.watch(255 - street(), 4))


def test_a_scene_that_keeps_changing_as_a_whole_is_let_through() -> None:
    camera = Camera()
    camera.watch(street(), 6)
    assert any(camera.detect(street(seed=100 + i)) for i in range(40))


def test_what_is_masked_is_not_looked_at() -> None:
    left = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    camera = Camera(GateSettings(masks=(left,)))
    camera.watch(street(), 3)
    assert not any(camera.detect(with_block(street(), 10 + 8 * i, 90)) for i in range(10))
    assert any(camera.detect(with_block(street(), 190 + 8 * i, 90)) for i in range(6))


def clock(scene: NDArray[np.float64], second: int) -> NDArray[np.float64]:
    drawn = scene.copy()
    rng = np.random.default_rng(second)
    drawn[8:20, 10:34] = np.kron(rng.integers(0, 2, (3, 6)) * 255.0, np.ones((4, 4)))
    return drawn


def test_clock_overlay_is_learned_and_motion_beside_it_seen() -> None:
    camera = Camera()
    seen = [bool(camera.detect(clock(street(), int(i * LOOK_S)))) for i in range(300)]
    assert sum(seen[200:]) == 0
    moving = [camera.detect(clock(with_block(street(), 60 + 8 * i, 90), 60)) for i in range(8)]
    assert any(moving)


def test_a_busy_street_is_not_taken_for_a_clock() -> None:
    camera = Camera()
    camera.watch(street(), 2)
    found = [bool(camera.detect(with_block(street(), (20 * i) % 290, 90, 28))) for i in range(300)]
    assert sum(found[-50:]) > 30


def test_a_swaying_tree_is_mostly_ignored() -> None:
    camera = Camera()
    rng = np.random.default_rng(3)
    leaves = rng.uniform(40, 200, (80, 100))
    seen = []
    for i in range(200):
        scene = street()
        scene[40:120, 150:250] = np.roll(leaves, (round(2 * np.sin(i * 0.9)), round(3 * np.sin(i * 0.7))), (0, 1))
        seen.append(bool(camera.detect(scene)))
    assert sum(seen[50:]) < 15


def test_what_stands_still_counts_until_it_is_known() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    crossing(camera, street())
    standing = with_block(street(), 172, 90)
    assert all(camera.watch(standing, STANDING_S - 2)[5:])
    camera.watch(standing, 5)
    assert not any(camera.watch(standing, 10))


def test_what_stands_still_does_not_count_with_standing_s_of_0() -> None:
    camera = Camera(GateSettings(standing_s=0))
    camera.watch(street(), 3)
    crossing(camera, street())
    assert not any(camera.watch(with_block(street(), 172, 90), 4)[7:])


def test_what_leaves_after_it_was_known_leaves_no_ghost() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    crossing(camera, street())
    camera.watch(with_block(street(), 172, 90), STANDING_S + 5)
    for i in range(8):
        camera.detect(with_block(street(), 172 + 14 * i, 90))
    assert not any(camera.watch(street(), 10)[8:])


@pytest.mark.parametrize(("contrast", "noise"), [(10, 1.5), (15, 4), (25, 4)])
def test_a_far_person_at_night_is_seen(contrast: float, noise: float) -> None:
    gate = Gate()
    seen: dict[float, bool] = {}
    for i, frame in enumerate(far_person(contrast, noise, visits=1, fps=5)):
        if i / 5 > QUIET_S + PERSON_S + 6:
            break
        luma = frame.to_ndarray()[: frame.height : 2, ::2]
        seen[i / 5] = bool(gate.detect(np.ascontiguousarray(luma), i / 5))
    there = [moved for at_s, moved in seen.items() if QUIET_S <= at_s < QUIET_S + PERSON_S]
    assert any(there[:6]), "within a second"
    assert sum(there) > len(there) * (0.3 if contrast == 10 else 0.9)
    assert not any(moved for at_s, moved in seen.items() if at_s < QUIET_S)
    assert not any(moved for at_s, moved in seen.items() if at_s > QUIET_S + PERSON_S + 2)


def dark_street() -> NDArray[np.float64]:
    """By night: dark, with texture and smooth walls."""
    rng = np.random.default_rng(4)
    return 20 + np.kron(rng.uniform(0, 40, (SIZE[0] // 20, SIZE[1] // 20)), np.ones((20, 20)))


def in_a_beam(scene: NDArray[np.float64], x: float) -> NDArray[np.float64]:
    """The scene with headlights on this place, brighter in the middle of the beam than at its edge."""
    down, right = np.mgrid[: SIZE[0], : SIZE[1]]
    beam = np.exp(-(((right - x) / 45) ** 2) - ((down / SIZE[0] - 0.7) / 0.3) ** 2)
    return scene * (1 + 1.1 * beam) + 12 * beam


def test_headlights_that_sweep_over_a_scene_are_not_motion() -> None:
    camera = Camera(noise=1.5)
    camera.watch(dark_street(), 8)
    for turn in range(3):
        assert not any(camera.detect(in_a_beam(dark_street(), 20 + 28 * i)) for i in range(10)), turn
        assert not any(camera.watch(dark_street(), 3))
    camera.at_s += LOOK_S
    assert not camera.gate.glance(shown(in_a_beam(dark_street(), 150), 1.5, camera.rng), camera.at_s)


def test_a_person_in_the_headlights_is_seen() -> None:
    camera = Camera(noise=1.5)
    camera.watch(dark_street(), 8)
    lit = [in_a_beam(dark_street(), 20 + 28 * i) for i in range(10)]
    for i, scene in enumerate(lit):
        scene[100:140, 60 + 8 * i : 74 + 8 * i] = 95
    assert sum(any(box.x1 < (74 + 8 * i) / 320 for box in camera.detect(scene)) for i, scene in enumerate(lit)) >= 6


def test_smoke_that_hides_a_dark_scene_is_seen() -> None:
    camera = Camera(noise=1.5)
    camera.watch(dark_street(), 8)
    down, right = np.mgrid[: SIZE[0], : SIZE[1]]
    found = []
    for i in range(20):
        cloud = 0.9 * np.exp(-(((right - 160) / (20 + 3 * i)) ** 2) - ((down - 120 + 2 * i) / 40) ** 2)
        found.append(camera.detect(dark_street() * (1 - cloud) + 110 * cloud))
    assert sum(bool(boxes) for boxes in found) >= 10


def test_glance_ignores_noise_and_known_clock() -> None:
    camera = Camera()
    for i in range(150):
        camera.detect(clock(street(), int(i * LOOK_S)))
    for second in range(30, 50, 2):
        camera.at_s += 2
        assert not camera.gate.glance(shown(clock(street(), second), 3.0, camera.rng), camera.at_s)
    camera.at_s += 2
    came = with_block(clock(street(), 50), 100, 90)
    assert camera.gate.glance(shown(came, 3.0, camera.rng), camera.at_s)


def test_what_was_left_out_is_listed_with_its_reason() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    look = camera.gate.look(shown(with_block(street(), 100, 60), 3.0, camera.rng), camera.at_s + LOOK_S)
    assert not look.regions
    assert [rejected.reason for rejected in look.rejected] == ["seen once"]


def test_a_changed_size_or_a_long_pause_starts_over() -> None:
    camera = Camera()
    camera.watch(street(), 3)
    assert camera.gate.detect(np.zeros((216, 384), np.uint8), camera.at_s + 0.2) == []
    assert camera.gate.is_calibrating
    camera = Camera()
    camera.watch(street(), 3)
    camera.at_s += 60
    assert camera.detect(with_block(street(), 90, 90)) == []
    assert camera.gate.is_calibrating


@pytest.mark.parametrize("shape", [(1, 1), (2, 400), (720, 1280), (2160, 3840), (1000, 30)])
def test_any_shape_of_picture_is_taken(shape: tuple[int, int]) -> None:
    gate = Gate()
    for i in range(8):
        for box in gate.detect(np.full(shape, 30 * i, np.uint8), i * LOOK_S):
            assert 0 <= box.x1 < box.x2 <= 1


def test_a_picture_that_is_not_luma_is_refused_by_its_shape() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4, 3\)"):
        Gate().detect(np.zeros((4, 4, 3), np.uint8), 0.0)
