from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.gate import Labels
from bench.programs import of_events, row, scanned


def program(path: Path, says: str, status: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_events_are_read_and_scored_as_the_gate_is(tmp_path: Path) -> None:
    events = scanned(program(tmp_path / "scan", "00:00:04.000,00:00:07.000,00:01:00.000,00:01:01.000"), tmp_path)
    assert events == [(4.0, 7.0), (60.0, 61.0)]
    looks = [(i * 0.2, np.zeros((4, 4), np.uint8)) for i in range(50)]
    score = of_events(events, looks, Labels(((3.0, 5.0),), ((6.0, 9.0),)), 1.5)
    assert (score.caught, score.intervals, score.false_bursts) == (1, 1, 1)
    assert row("DVR-Scan", score).startswith("| DVR-Scan | 1 of 1 | 1.0 |")
    assert row("DVR-Scan", score).endswith("| 1.5 |")


def test_a_program_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"clip.mp4: no such codec"):
        scanned(program(tmp_path / "scan", "no such codec", 1), Path("clip.mp4"))
