"""The shipped weights on the shipped clips: what the demo shows is really found, and nothing where nothing is."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import pytest

from detect.rules import confirm
from functions import Detection
from models.network import HAZARD, Network

MEDIA = Path(__file__).parents[2] / "local/demo/media"


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(HAZARD)


def bursts(clip: str, network: Network) -> list[list[list[Detection]]]:
    """One burst of 4 frames 250 ms apart for each of the seconds in which something moves."""
    with av.open(str(MEDIA / f"{clip}.mp4")) as container:
        frames = [f.to_ndarray(format="bgr24") for i, f in enumerate(container.decode(video=0)) if 40 <= i < 200]
    return [network.detect([frames[start + at] for at in (0, 2, 5, 7)]) for start in range(0, len(frames) - 10, 10)]


@pytest.mark.parametrize("hazard", ["accident", "fire", "gun"])
def test_a_hazard_scene_is_confirmed_in_several_bursts(hazard: str, network: Network) -> None:
    confirmed = [[c.hazard for c in confirm(burst)] for burst in bursts(hazard, network)]
    assert sum(hazard in c for c in confirmed) >= 3, confirmed
    assert {h for c in confirmed for h in c} == {hazard}


@pytest.mark.parametrize("clip", ["street", "motorway"])
def test_nothing_is_confirmed_on_a_street(clip: str, network: Network) -> None:
    assert not any(confirm(burst) for burst in bursts(clip, network))


@pytest.mark.parametrize("clip", ["accident", "fire", "gun", "street", "motorway"])
def test_a_clip_is_a_minute_long_and_still_at_its_end(clip: str) -> None:
    with av.open(str(MEDIA / f"{clip}.mp4")) as container:
        assert not container.streams.video[0].codec_context.has_b_frames
        frames = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
    assert len(frames) == 600
    held = frames[350:]
    # Encoding must not make the picture pulse at its key frames: a still scene has to look still to the gate.
    assert max(abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(held)) < 1.0
