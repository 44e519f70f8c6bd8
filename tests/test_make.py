"""What `make` passes on is what was written, spaces and quotes included."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize("path", ["cameras.yaml", "a path/with spaces.yaml", 'it\'s $(this) "one".yaml'])
def test_cameras_of_make_run_may_be_any_path(path: str, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "bongsu").write_text('#!/bin/sh\nfor given; do printf "%s\\n" "$given"; done\n')
    (venv / "bin" / "bongsu").chmod(0o755)
    # The stamp says that the environment is there.
    (venv / ".installed").touch()
    command = ["make", "-s", "run", f"VENV={venv}", f"BIN={venv}/bin", f"STAMP={venv}/.installed", "PORT=1"]
    asked = f"CAMERAS={path.replace('$', '$$')}"
    ran = subprocess.run([*command, asked], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert ran.stdout.splitlines() == ["run", "--port", "1", "--cameras", path], ran.stderr
