from __future__ import annotations

from pathlib import Path

import pytest

from detect.registry import ModelError, read_verified, record


def test_a_recorded_file_is_read_and_an_altered_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"weights")
    record(path)
    assert read_verified(path) == b"weights"
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"net\.onnx is not what .*SHA256SUMS records"):
        read_verified(path)
    record(path)
    assert read_verified(path) == b"other"


def test_recording_one_file_keeps_the_others(tmp_path: Path) -> None:
    for name in ("b.pt", "a.onnx"):
        (tmp_path / name).write_bytes(name.encode())
        record(tmp_path / name)
    names = [line.split()[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()]
    assert names == ["a.onnx", "b.pt"]
    assert read_verified(tmp_path / "b.pt") == b"b.pt"


def test_a_file_that_nobody_recorded_is_refused_even_under_a_known_name(tmp_path: Path) -> None:
    path = tmp_path / "hazard4_320.onnx"
    path.write_bytes(b"from somewhere")
    with pytest.raises(ModelError, match="record it with"):
        read_verified(path)
