"""Pictures of a camera on stdout, for what runs a model on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(order: dict[str, object], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "motion.snapshots"], input=json.dumps(order).encode() + b"\n", capture_output=True,
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=50,
    )  # fmt: skip


def pictures(stream: bytes) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    while stream:
        line, _, stream = stream.partition(b"\n")
        header = json.loads(line)
        found.append((header, stream[: header["bytes"]]))
        stream = stream[header["bytes"] :]
    return found


@pytest.mark.connected
def test_a_live_camera_gives_so_many_pictures_under_a_name(draw_clip: Any, rtsp_server: Any, tmp_path: Path) -> None:
    draw_clip("cam1.mp4", seconds=3.0)
    rtsp_server.start()
    url = rtsp_server.url("cam1.mp4")
    done = run({"camera": url, "name": "yard", "every_s": 0.5, "count": 3}, tmp_path)
    assert done.returncode == 0, done.stderr
    found = pictures(done.stdout)
    assert [header["source"] for header, _ in found] == ["yard"] * 3
    assert all(jpeg.startswith(b"\xff\xd8") for _, jpeg in found)
    assert url.encode() not in done.stdout + done.stderr


def test_a_file_gives_pictures_by_its_own_clock(draw_clip: Any, tmp_path: Path) -> None:
    done = run({"camera": str(draw_clip()), "name": "clip", "every_s": 1, "count": 2}, tmp_path)
    assert [header["source"] for header, _ in pictures(done.stdout)] == ["clip@0.0s", "clip@1.0s"]


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = run({"camera": str(tmp_path / "none.mp4"), "name": "clip"}, tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 1
    assert b"Expected `str`" in run({"camera": 1, "name": "clip"}, tmp_path).stderr
