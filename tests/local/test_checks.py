from __future__ import annotations

from pathlib import Path

import pytest

from local.checks import DEMO, RunError, own_copy


def test_the_demo_has_cameras_of_its_own_that_are_kept(tmp_path: Path) -> None:
    copy = own_copy(DEMO / "cameras.yaml", tmp_path)
    assert copy == tmp_path / "cameras.yaml"
    assert copy.read_bytes() == (DEMO / "cameras.yaml").read_bytes()
    copy.write_text("cameras: []\n")
    assert own_copy(DEMO / "cameras.yaml", tmp_path).read_text() == "cameras: []\n"


def test_a_state_that_takes_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(RunError, match="cannot be written"):
        own_copy(DEMO / "cameras.yaml", tmp_path / "state")
