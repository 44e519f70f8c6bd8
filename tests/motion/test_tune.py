from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from functions.cli import run_command
from motion import tune


def test_tuning_lists_passed_and_refused_motion_with_pictures(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, strip = draw_clip(seconds=5, moves_s=3), tmp_path / "strip.jpg"
    assert run_command(tune.motion, ["tune", str(clip), "--strip", str(strip)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("25 checks at sensitivity 0.5: ")
    assert "moving" in out
    assert "seen once" in out
    image = cv2.imread(str(strip), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape[1] == 6 * 320


def test_a_camera_is_taken_by_its_id_with_its_own_masks(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = {"lat": 37.5, "lon": 127, "name": "Gate"}
    everything = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    camera = {"id": "gate-1", "url": str(draw_clip(seconds=5, moves_s=3)), "place": place, "masks": [everything]}
    Path("cameras.yaml").write_text(yaml.safe_dump({"cameras": [camera]}), encoding="utf-8")
    assert run_command(tune.motion, ["tune", "gate-1"]) == 0
    assert "nothing differed" in capsys.readouterr().out
    assert run_command(tune.motion, ["tune", "gate-2"]) == 2
    assert "has no camera 'gate-2', and there is no such file: known are gate-1" in capsys.readouterr().err
