"""The detector takes a version that was deployed, and keeps the one it has where that cannot be used."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from detect.follow import follow_weights
from detect.worker import HazardDetector
from models.network import hazard_spec
from models.registry import MANIFEST, WEIGHTS, ModelError, find_weights, record


def version(folder: Path, weights: bytes) -> Path:
    """A version as the fleet leaves it on a node."""
    folder.mkdir()
    (folder / "some.onnx").write_bytes(weights)
    record(folder / "some.onnx")
    manifest = {"annotations": {"org.bongsu.model.weights": "some.onnx"}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def put_in_use(current: Path, folder: Path) -> None:
    new = current.with_name(".new")
    new.symlink_to(folder.name)
    new.replace(current)


async def test_a_version_that_cannot_be_loaded_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = version(tmp_path / "good", (WEIGHTS / "hazard4_320_int8.onnx").read_bytes())
    version(tmp_path / "bad", b"no network")
    better = shutil.copytree(good, tmp_path / "better")
    current = tmp_path / "current"
    put_in_use(current, good)
    monkeypatch.setenv("BONGSU_DETECT_WEIGHTS", str(current))
    detector = HazardDetector()
    assert detector.weights == good / "some.onnx"
    with capture_logs() as logs:
        following = asyncio.create_task(follow_weights(detector, period_s=0.02))
        put_in_use(current, tmp_path / "bad")
        async with asyncio.timeout(30):
            while not logs:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
            current.unlink()  # and one that is not there at all
            await asyncio.sleep(0.2)
            assert detector.weights == good / "some.onnx"
            put_in_use(current, better)
            while detector.weights != better / "some.onnx":
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
        following.cancel()
    events = [entry["event"] for entry in logs]
    assert events.count("weights_switched") == 1
    assert 1 <= events.count("weights_refused") <= 2  # the network that is none, and the link that led nowhere


def test_a_folder_that_is_no_version_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_DETECT_WEIGHTS", str(tmp_path))
    with pytest.raises(ModelError, match="name a file of weights"):
        hazard_spec()


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"annotations": {"org.bongsu.model.weights": "../../etc/passwd"}}))
    assert find_weights(tmp_path) == tmp_path / "passwd"
