from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from functions.cli import run_command
from motion import cli
from motion.config import load_cameras
from motion.reading import Probe, probe


def write(folder: Path, **urls: str) -> Path:
    place = {"lat": 37.5, "lon": 127, "name": "Gate"}
    path = folder / "cameras.yaml"
    path.write_text(yaml.safe_dump({"cameras": [{"id": i, "url": u, "place": place} for i, u in urls.items()]}))
    return path


def test_good_cameras_are_listed_with_a_picture(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, gate=str(draw_clip(size=(640, 384), fps=10)))
    assert run_command(cli.cameras, ["check", "--file", str(path), "--thumbnails", str(tmp_path / "pictures")]) == 0
    header, gate, total = capsys.readouterr().out.splitlines()
    assert header.split() == ["camera", "codec", "size", "fps", "first", "frame", "decoded", "thumbnail"]
    assert gate.split()[:4] == ["gate", "h264", "640x384", "10"]
    assert gate.endswith("pictures/gate.jpg")
    assert total == "1 cameras, 0 failed"
    image = cv2.imread(str(tmp_path / "pictures" / "gate.jpg"))
    assert image is not None
    assert image.shape == (288, 480, 3)


def test_a_file_with_a_colon_in_its_name_is_read(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_clip().rename(tmp_path / "10:30.mp4")
    write(tmp_path, gate="10:30.mp4")
    monkeypatch.chdir(tmp_path)
    # Beside the file itself a name is all there is, and FFmpeg takes what stands before a colon for a protocol.
    assert run_command(cli.cameras, ["check", "--file", "cameras.yaml"]) == 0
    assert "gate    h264" in capsys.readouterr().out


def test_failed_camera_reports_reason_without_url(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, good=str(draw_clip()), bad="rtsp://admin:hunter2@127.0.0.1:1/x", none="none.mp4")
    assert run_command(cli.cameras, ["check", "--file", str(path)]) == 1
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "FAILED: connection refused" in out
    assert "FAILED: no such file or device" in out
    assert "good    h264" in out
    assert "3 cameras, 2 failed" in out


def test_silent_camera_delays_nobody_beyond_the_limit(tmp_path: Path, draw_clip: Any) -> None:
    path = write(tmp_path, good=str(draw_clip()), stuck="stuck.mp4")

    def slow(url: str, max_latency_s: float) -> Probe:
        if url.endswith("stuck.mp4"):
            time.sleep(5)
        return probe(url)

    good, stuck = cli.check_cameras(load_cameras(path).cameras, limit_s=1.0, open_=slow)
    assert good.probe is not None
    assert stuck.reason == "no answer for 1 s"


def test_an_rtsp_camera_is_read(
    tmp_path: Path, draw_clip: Any, rtsp_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_clip("cam1.mp4", seconds=3.0)
    rtsp_server.start()
    path = write(tmp_path, live=rtsp_server.url("cam1.mp4"), none=rtsp_server.url("none.mp4"))
    assert run_command(cli.cameras, ["check", "--file", str(path)]) == 1
    out = capsys.readouterr().out
    assert "live    h264   320x192" in out
    assert "FAILED: the camera has no such stream" in out


def test_a_wrong_file_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(cli.cameras, ["check", "--file", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"bongsu: {tmp_path}/none.yaml: no such file")


def test_a_folder_for_thumbnails_that_cannot_be_is_told(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, gate=str(draw_clip()))
    (tmp_path / "taken").write_text("a file")
    assert run_command(cli.cameras, ["check", "--file", str(path), "--thumbnails", str(tmp_path / "taken")]) == 1
    assert "FAILED: thumbnail in" in capsys.readouterr().out
