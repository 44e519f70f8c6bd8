"""Story 5: the shipped network on a node's pictures, and the detector that follows what is deployed there."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import msgspec
import pytest

from detect.follow import switches_total
from functions import HAZARDS, MotionBurst, decode, encode, new_id
from functions.broker.memory import MemoryBroker
from functions.function import load_function
from functions.runtime import run
from functions.topology import MOTION, queues
from models.registry import WEIGHTS
from tests.detect.test_worker import burst
from tests.edge.conftest import ROOT, Fleet
from tests.edge.servers import SshNode
from tests.edge.test_deploy_to_nodes import add, push

pytestmark = pytest.mark.connected

NewNode = Callable[..., SshNode]
MEDIA = ROOT / "local/demo/media"
CAMERAS = f"cameras:\n  - id: yard\n    url: {MEDIA / 'street.mp4'}\n    place: {{lat: 37.5, lon: 127, name: Yard}}\n"


def make_environment(node: SshNode) -> None:
    """Stands for `pip install bongsu[detect,motion]` in the node's own environment: the one of the tests."""
    python = node.user_home / ".bongsu/venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} "$@"\n')
    python.chmod(0o755)


@pytest.fixture
def node(fleet: Fleet, new_node: NewNode) -> SshNode:
    """A node that uses the shipped network."""
    started = new_node("gate")
    add(fleet, started, "gate-1")
    fleet.ok("models", "keygen")
    fleet.ok("models", "push", "--shipped", "--sign")
    fleet.ok("models", "deploy", "hazard:2026.11.1", "--nodes", "gate-1")
    make_environment(started)
    return started


def picture(folder: Path, clip: str, second: float) -> Path:
    folder.mkdir(exist_ok=True)
    with av.open(str(MEDIA / f"{clip}.mp4")) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= second:
                path = folder / f"{clip}.jpg"
                cv2.imwrite(str(path), frame.to_ndarray(format="bgr24"))
                return path
    raise AssertionError(clip)


def test_a_folder_of_pictures_is_looked_at_on_the_node(fleet: Fleet, node: SshNode, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    picture(pictures, "fire", 9)
    picture(pictures, "street", 10)
    (pictures / "torn.jpg").write_bytes((pictures / "fire.jpg").read_bytes()[:100])
    run_it = ("models", "run", "hazard:2026.11.1", "--on", "gate-1", "--input")
    done = fleet.run(*run_it, str(pictures), "--json", "--draw", str(tmp_path / "drawn"))
    seen = {line["source"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(seen) == ["fire.jpg", "street.jpg", "torn.jpg"], done.stderr
    assert "fire" in [d["label"] for d in seen["fire.jpg"]["detections"]]
    assert seen["torn.jpg"]["error"]
    assert done.returncode == 1  # one could not be read
    assert "3 pictures, 1 unreadable" in done.stderr
    drawn = [p.read_text() for p in sorted((tmp_path / "drawn").iterdir())]
    assert len(drawn) == 2
    assert "fire 0." in drawn[0]
    assert "<image" not in "".join(drawn)  # no picture is redacted here, so none is shown

    there = fleet.ok(*run_it, f"node:{pictures / 'fire.jpg'}")
    assert "fire.jpg" in there
    assert "fire 0." in there


def test_a_video_and_a_camera_of_the_node_are_read_there(fleet: Fleet, node: SshNode, tmp_path: Path) -> None:
    run_it = ("models", "run", "hazard:2026.11.1", "--on", "gate-1", "--json", "--input")
    said = fleet.ok(*run_it, f"node:{MEDIA / 'fire.mp4'}", "--every", "4s", "--count", "3")
    assert [json.loads(line)["source"] for line in said.splitlines()] == [
        "fire.mp4@0.0s", "fire.mp4@4.0s", "fire.mp4@8.0s",
    ]  # fmt: skip
    (node.user_home / ".bongsu/cameras.yaml").write_text(CAMERAS)
    (line,) = fleet.ok(*run_it, "camera:yard", "--count", "1").splitlines()
    assert json.loads(line)["source"] == "yard@0.0s"
    assert "no camera 'attic'" in fleet.refused(*run_it, "camera:attic", "--count", "1")


def test_what_hinders_a_run_is_one_line(fleet: Fleet, node: SshNode, tmp_path: Path) -> None:
    fire = picture(tmp_path / "p", "fire", 9)
    run_it = ("models", "run", "hazard:2026.11.1", "--on", "gate-1", "--input")
    assert "node:" in fleet.refused(*run_it, "/no/such.jpg")
    assert "500ms" in fleet.refused(*run_it, str(fire), "--every", "soon")
    current = (node.user_home / ".bongsu/models/hazard/current").resolve()
    weights = current / "hazard4_320.onnx"
    weights.chmod(0o600)
    weights.write_bytes(b"altered")
    (current / "hazard4_320_int8.onnx").unlink()
    assert "differs from its sha256" in fleet.refused(*run_it, str(fire))
    shutil.rmtree(node.user_home / ".bongsu/venv")
    refused = fleet.refused(*run_it, str(fire))
    assert "which runs models: python3 -m venv ~/.bongsu/venv" in refused
    shutil.rmtree(current)
    assert "bongsu models deploy hazard:2026.11.1" in fleet.refused(*run_it, str(fire))


def test_the_shipped_description_says_what_the_detector_does() -> None:
    from detect.rules import RULES
    from edge.card import read_folder

    card, files = read_folder(WEIGHTS)
    assert card.labels == HAZARDS
    assert card.thresholds == {label: rule.threshold for label, rule in RULES.items()}
    assert [f.name for f in files] == ["hazard4_320.onnx", "hazard4_320_int8.onnx", "README.md"]


async def test_the_detector_takes_a_new_version_without_losing_a_burst(
    fleet: Fleet, node: SshNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    shutil.copy(WEIGHTS / "hazard4_320_int8.onnx", folder / "other.onnx")
    (folder / "model.yaml").write_text("name: hazard\nversion: '2'\nweights: other.onnx\n")
    await asyncio.to_thread(push, fleet, folder)
    current = node.user_home / ".bongsu/models/hazard/current"
    monkeypatch.setenv("BONGSU_DETECT_WEIGHTS", str(current))
    function, broker, stopping = load_function("detect"), MemoryBroker(), asyncio.Event()
    await broker.declare(queues([f"{MOTION}", "fire.watch"]))
    sample = burst("fire", 9)
    assert isinstance(sample, MotionBurst)
    stages: dict[str, list[float]] = {"before": [], "during": [], "after": []}
    running = asyncio.create_task(run(function, broker, stopping))
    async with broker.consume(["fire.watch"]) as consumer:

        async def send_one(stage: str) -> None:
            event, begun = msgspec.structs.replace(sample, id=new_id()), time.monotonic()
            await broker.publish(encode(event))
            delivery = await consumer.get(timeout_s=60)
            assert delivery is not None, f"a burst was lost {stage} the switch"
            assert decode(delivery.message.body).id == event.id
            await delivery.ack()
            stages[stage].append(time.monotonic() - begun)

        for _ in range(3):
            await send_one("before")
        count = switches_total.labels("ok")._value
        switched, before = count.get(), current.resolve()
        deploying = await asyncio.to_thread(fleet.start, "models", "deploy", "hazard:2", "--nodes", "gate-1")
        while count.get() == switched:
            await send_one("during")
            assert deploying.poll() in (None, 0), deploying.communicate()[1]
        await asyncio.to_thread(deploying.communicate)
        assert current.resolve() != before
        await send_one("after")
    stopping.set()
    await running
    assert len(await broker.dead_letters()) == 0
    # Alone, each burst is answered by one network or the other; none waits until the new one has been loaded.
    print({stage: [round(s, 2) for s in waits] for stage, waits in stages.items()})
