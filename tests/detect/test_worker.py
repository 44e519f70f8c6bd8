from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from detect.detector import HazardDetector
from detect.rules import RULES
from detect.worker import detect, open_detector
from functions import Box, Event, Frame, MotionBurst, Place, Reject, new_id, utc_now
from models import network as model

ROOT = Path(__file__).parents[2]
MEDIA = ROOT / "local/demo/media"
DATA = Path(os.environ.get("BONGSU_DATA") or ROOT.parent / "shared/data")


@asynccontextmanager
async def detector() -> AsyncIterator[HazardDetector]:
    async with open_detector() as opened:
        yield opened


def burst(clip: str, second: float) -> Event:
    """A burst as motion takes it, from a shipped clip."""
    return burst_of(MEDIA / f"{clip}.mp4", second)


def burst_of(path: Path, second: float) -> Event:
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate or 10)
        images = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    now = utc_now()
    chosen = [images[int((second + i / 4) * fps)] for i in range(4)]
    frames = tuple(
        Frame(cv2.imencode(".jpg", image)[1].tobytes(), now + timedelta(seconds=i / 4))
        for i, image in enumerate(chosen)
    )
    place = Place(37.5, 127.0, "gate")
    return MotionBurst(id=new_id(), camera="c", place=place, captured_at=now, frames=frames)


async def test_fire_burst_becomes_fire_event_with_best_frame() -> None:
    sent = burst("fire", 9)
    async with detector() as opened:
        (event,) = await detect([sent], opened)
    assert (event.id, event.type, event.hazard, event.captured_at) == (sent.id, "fire", "fire", sent.captured_at)
    assert len(event.frames) == 1
    assert event.frames[0] in sent.frames
    assert event.detections[0].label == "fire"
    assert "person" in event.labels_searched


async def test_a_batch_keeps_its_bursts_apart() -> None:
    bursts = [burst("street", 10), burst("gun", 14), burst("street", 12)]
    async with detector() as opened:
        (event,) = await detect(bursts, opened)
    assert (event.id, event.type) == (bursts[1].id, "gun")
    assert any(d.label == "person" for d in event.detections)


async def test_as_many_threads_as_there_may_be_see_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    bursts = [burst("fire", 9), burst("gun", 14), burst("street", 10)]
    moved = [msgspec.structs.replace(b, moved=Box(0.3, 0.3, 0.5, 0.6)) for b in bursts]
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("BONGSU_DETECT_THREADS", threads)
        async with detector() as opened:
            found.append(await detect(moved, opened))
    assert found[0] == found[1] == found[2]
    assert {e.type for e in found[0]} >= {"fire", "gun"}


async def test_a_camera_threshold_is_respected() -> None:
    async with detector() as opened:
        assert await detect([msgspec.structs.replace(burst("fire", 9), thresholds={"fire": 0.99})], opened) == []


async def test_an_undecodable_frame_is_skipped_and_the_rest_decide() -> None:
    sent = burst("fire", 9)
    frames = (*sent.frames[:3], Frame(b"\xff\xd8 no picture", sent.captured_at))
    async with detector() as opened:
        (event,) = await detect([msgspec.structs.replace(sent, frames=frames)], opened)
    assert event.type == "fire"


async def test_last_frame_of_a_hopeless_burst_is_skipped() -> None:
    def looked_at() -> tuple[float, float]:
        counts = [REGISTRY.get_sample_value("bongsu_frames_detected_total", {"outcome": o}) for o in ("ok", "unneeded")]
        return counts[0] or 0.0, counts[1] or 0.0

    before = looked_at()
    async with detector() as opened:
        assert await detect([burst("street", 10), burst("street", 12)], opened) == []
        assert [now - then for now, then in zip(looked_at(), before, strict=True)] == [6, 2]
        assert len(await detect([burst("fire", 9)], opened)) == 1
    assert [now - then for now, then in zip(looked_at(), before, strict=True)] == [10, 2]


async def test_burst_with_one_decodable_frame_is_not_rejected() -> None:
    sent = burst("fire", 9)
    broken = Frame(b"\xff\xd8 no picture", sent.captured_at)
    async with detector() as opened:
        assert await detect([msgspec.structs.replace(sent, frames=(broken,) * 3 + sent.frames[3:])], opened) == []


async def test_a_burst_without_a_usable_frame_is_rejected() -> None:
    sent = msgspec.structs.replace(burst("fire", 9), frames=(Frame(b"nothing", utc_now()),))
    async with detector() as opened:
        with pytest.raises(Reject, match="none of 1 frames"):
            await detect([sent], opened)


async def test_without_the_scene_network_the_hazard_still_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = model.Spec(Path("/nowhere/scene.onnx"), model.SCENE_LABELS, 0.2)
    monkeypatch.setattr("detect.detector.SCENE", gone)
    async with detector() as opened:
        (event,) = await detect([burst("fire", 9)], opened)
    assert event.type == "fire"
    assert "person" not in event.labels_searched


@pytest.mark.parametrize(("searched", "types"), [(("person",), []), ((), ["gun"])])
async def test_gun_with_nobody_near_needs_more_confidence(
    monkeypatch: pytest.MonkeyPatch, searched: tuple[str, ...], types: list[str]
) -> None:
    monkeypatch.setattr(HazardDetector, "look_around", lambda *_: ([], searched))
    # However sure: the rule asks for more than there is.
    monkeypatch.setitem(RULES, "gun", replace(RULES["gun"], isolated_penalty=1.0))
    name = "bongsu_hazards_doubted_total"
    before = REGISTRY.get_sample_value(name, {"type": "gun"}) or 0.0
    async with detector() as opened:
        assert [e.type for e in await detect([burst("gun", 14)], opened)] == types
    assert (REGISTRY.get_sample_value(name, {"type": "gun"}) or 0.0) - before == (not types)


async def test_at_the_second_look_people_are_looked_for_closer_too() -> None:
    sent = burst("gun", 14)
    async with detector() as opened:
        whole, _ = opened.look_around(sent.frames[0].jpeg)
        both, searched = opened.look_around(sent.frames[0].jpeg, Box(0.2, 0.1, 0.7, 0.6))
    assert both[: len(whole)] == whole
    assert "person" in searched
    people = [d.box for d in both if d.label == "person"]
    assert all(a.iou(b) < 0.5 for i, a in enumerate(people) for b in people[:i]), "nobody is counted twice"


async def test_whom_the_closer_look_cuts_in_two_is_not_counted_twice() -> None:
    sent = burst("gun", 14)
    async with detector() as opened:
        whole, _ = opened.look_around(sent.frames[0].jpeg)
        person = next(d.box for d in whole if d.label == "person")
        (x, y), side = person.center, 0.4
        # The edge of the part runs through the middle of a person.
        where = Box(max(0.0, x - side), max(0.0, y - side), x, min(1.0, y + side))
        both, _ = opened.look_around(sent.frames[0].jpeg, where)
    people = [d.box for d in both if d.label == "person" and d.box.iou(person) > 0]
    assert people == [d.box for d in whole if d.label == "person" and d.box.iou(person) > 0]


async def test_one_pixel_frames_are_looked_at_and_show_nothing() -> None:
    tiny = Frame(cv2.imencode(".jpg", np.zeros((1, 1, 3), np.uint8))[1].tobytes(), utc_now())
    async with detector() as opened:
        assert await detect([msgspec.structs.replace(burst("street", 10), frames=(tiny,) * 4)], opened) == []


@pytest.mark.skipif(not (DATA / "video").is_dir(), reason="no knife scene may be shipped: set BONGSU_DATA to the data")
async def test_a_knife_is_confirmed_on_a_real_clip() -> None:
    async with detector() as opened:
        found = [
            e.type for s in range(12) for e in await detect([burst_of(DATA / "video/capo_knife-gun.mp4", s)], opened)
        ]
    assert "knife" in found


def test_missing_weights_end_the_worker_with_one_clear_line(tmp_path: Path) -> None:
    environment = {"BONGSU_BROKER_URL": f"sqlite:///{tmp_path}/b.db", "BONGSU_DETECT_WEIGHTS": "/nowhere/hazard.onnx"}
    ended = subprocess.run(
        [sys.executable, "-m", "functions", "detect"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith("bongsu: detect cannot start: ModelError: no weights at")
    assert "Traceback" not in ended.stderr
