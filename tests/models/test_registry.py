from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from models.registry import ModelError, read_verified, record


def test_a_recorded_file_is_read_and_an_altered_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"weights")
    record(path)
    assert read_verified(path) == b"weights"
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"net\.onnx differs from its sha256 in .*SHA256SUMS"):
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


def test_unrecorded_file_is_refused_under_a_known_name(tmp_path: Path) -> None:
    path = tmp_path / "hazard4_320.onnx"
    path.write_bytes(b"from somewhere")
    with pytest.raises(ModelError, match="record it with"):
        read_verified(path)


def test_a_name_with_blanks_is_recorded_like_any_other(tmp_path: Path) -> None:
    for name in ("my net.onnx", "a.onnx", "신호 *.pt"):
        (tmp_path / name).write_bytes(name.encode())
        record(tmp_path / name)
    assert [read_verified(p) for p in sorted(tmp_path.glob("*.onnx"))] == [b"a.onnx", b"my net.onnx"]
    assert read_verified(tmp_path / "신호 *.pt") == "신호 *.pt".encode()


@pytest.mark.parametrize("line", ["{} *net.onnx", "{}  net.onnx\n\n", "# of the gate\n{}  net.onnx", "{}  net.onnx\r"])
def test_sums_are_read_as_sha256sum_and_people_write_them(tmp_path: Path, line: str) -> None:
    (tmp_path / "net.onnx").write_bytes(b"weights")
    (tmp_path / "SHA256SUMS").write_text(line.format(hashlib.sha256(b"weights").hexdigest()))
    assert read_verified(tmp_path / "net.onnx") == b"weights"


@pytest.mark.parametrize("line", ["deadbeef  net.onnx", "0" * 64, "<<<<<<< HEAD", "\xff\xfe"])
def test_sums_that_are_none_are_one_clear_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "net.onnx").write_bytes(b"weights")
    (tmp_path / "SHA256SUMS").write_bytes(line.encode("latin-1"))
    with pytest.raises(ModelError, match=r"SHA256SUMS: a line must be"):
        read_verified(tmp_path / "net.onnx")


def test_what_cannot_be_recorded_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.record", str(tmp_path / "none.onnx")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}/none.onnx cannot be recorded: ")
    assert done.stderr.count("\n") == 1
