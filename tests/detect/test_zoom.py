"""The second look: where it is taken, and that its boxes are in fractions of the whole frame."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from detect.detector import HazardDetector
from detect.rules import Confirmed
from detect.worker import detect, open_detector
from detect.zoom import cut, keep_overlapping, part
from functions import Box, Detection, Event
from tests.detect.test_worker import burst


@pytest.mark.parametrize(
    ("moved", "side"),
    [(Box(0.5, 0.5, 0.52, 0.53), 0.35), (Box(0.3, 0.3, 0.7, 0.5), 0.48), (Box(0, 0.9, 0.1, 1), 0.35)],
)
def test_a_part_holds_what_moved_and_lies_within_the_frame(moved: Box, side: float) -> None:
    where = part(moved)
    assert where is not None
    assert where.around(moved) == where
    assert (where.x2 - where.x1, where.y2 - where.y1) == pytest.approx((side, side))


def test_what_moved_all_over_the_frame_is_not_looked_at_again() -> None:
    assert part(Box(0.1, 0.4, 0.9, 0.6)) is None


@pytest.mark.parametrize("shape", [(720, 1280, 3), (1, 1, 3), (3, 7, 3)])
def test_box_found_in_a_crop_is_mapped_to_the_frame(shape: tuple[int, int, int]) -> None:
    where = part(Box(0.8, 0.1, 0.9, 0.2))
    assert where is not None
    image = np.zeros(shape, np.uint8)
    piece = cut(image, where)
    assert piece.size
    if shape[0] == 720:
        piece[100:110, 200:220] = 255
        height, width = piece.shape[:2]
        found = Detection("gun", 0.5, Box(200 / width, 100 / height, 220 / width, 110 / height))
        y, x = np.nonzero(image[:, :, 0])
        (kept_one,) = keep_overlapping([found], where, where)
        box = kept_one.box
        wanted = [x.min() / 1280, y.min() / 720, (x.max() + 1) / 1280, (y.max() + 1) / 720]
        assert [box.x1, box.y1, box.x2, box.y2] == pytest.approx(wanted, abs=2 / 720)


def test_what_does_not_touch_what_moved_is_not_believed() -> None:
    moved, where = Box(0.4, 0.4, 0.5, 0.5), Box(0.3, 0.3, 0.65, 0.65)
    inside, beside = (Detection("gun", 0.9, box) for box in (Box(0.3, 0.3, 0.5, 0.5), Box(0.7, 0.7, 0.9, 0.9)))
    assert [d.box.x1 for d in keep_overlapping([inside, beside], where, moved)] == [pytest.approx(0.3 + 0.3 * 0.35)]


def from_afar(event: Event) -> tuple[Event, Box]:
    """The same burst from a camera that sees three times as far, and where it now is in its frames."""
    frames = []
    for frame in event.frames:
        near = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert near is not None
        height, width = near.shape[:2]
        far = np.full((height * 3, width * 3, 3), 90, np.uint8)
        far[height : 2 * height, 2 * width :] = near
        frames.append(msgspec.structs.replace(frame, jpeg=cv2.imencode(".jpg", far)[1].tobytes()))
    return msgspec.structs.replace(event, frames=tuple(frames)), Box(2 / 3, 1 / 3, 1, 2 / 3)


async def test_distant_gun_is_found_by_the_zoom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_DETECT_PEOPLE", "0")
    unmoved, where = from_afar(msgspec.structs.replace(burst("gun", 15), thresholds={"gun": 0.25}))
    async with open_detector() as detector:
        assert await detect([unmoved], detector) == []
        quiet = burst("street", 10)
        moved = Box(where.x1 + 0.1, where.y1 + 0.1, where.x2 - 0.1, where.y2 - 0.05)
        (event,) = await detect([quiet, msgspec.structs.replace(unmoved, moved=moved)], detector)
    assert (event.id, event.type) == (unmoved.id, "gun")
    found = event.detections[0].box
    assert where.around(found) == where


async def test_a_poster_does_not_keep_the_second_look_away(monkeypatch: pytest.MonkeyPatch) -> None:
    poster = Confirmed("gun", 0, Detection("gun", 0.9, Box(0.1, 0.1, 0.5, 0.9)), 0.9, least=0.4)
    monkeypatch.setattr(HazardDetector, "look", lambda _, events: [[poster] for _ in events])
    sent, where = from_afar(msgspec.structs.replace(burst("fire", 9), thresholds={"fire": 0.25}))
    async with open_detector() as detector:
        moved = Box(where.x1 + 0.05, where.y1 + 0.05, where.x2 - 0.05, where.y2 - 0.05)
        assert [e.type for e in await detect([sent], detector)] == []
        assert [e.type for e in await detect([msgspec.structs.replace(sent, moved=moved)], detector)] == ["fire"]


async def test_undecodable_frame_is_counted_once() -> None:
    def undecodable() -> float:
        return REGISTRY.get_sample_value("bongsu_frames_detected_total", {"outcome": "undecodable"}) or 0.0

    sent, before = burst("street", 10), undecodable()
    broken = msgspec.structs.replace(sent.frames[0], jpeg=b"\xff\xd8 no picture")
    event = msgspec.structs.replace(sent, frames=(broken, *sent.frames[1:]), moved=Box(0.4, 0.4, 0.5, 0.5))
    async with open_detector() as detector:
        assert await detect([event], detector) == []
    assert undecodable() - before == 1
