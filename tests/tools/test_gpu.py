"""What is packed for a machine without a network is read there as it was, and a run's files come back whole."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from detect.training.corpus import read_corpus
from tests.detect.pictures import corpus
from tools.gpu.pack import write_parts
from tools.gpu.run import Copying, unpack

ROOT = Path(__file__).parents[2]


def test_a_packed_corpus_is_read_as_it_was(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "city", ("a", "x", "train", "fire", "s1"), ("b", "y", "val", "negative", "s2"))
    packed = tmp_path / "packed"
    command = [sys.executable, "-m", "tools.gpu.pack", str(folder), "--out", str(packed), "--size", "32"]
    ran = subprocess.run([*command, "--without-wheels"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "city: 2 pictures in 1 parts\n"
    for _ in range(2):
        assert unpack(packed, packed / "work") == "city-00.tar"
    before, after = read_corpus(folder), read_corpus(packed / "work/city")
    assert [(s.split, s.source, s.scene, s.label, s.truths()) for s in after] == [
        (s.split, s.source, s.scene, s.label, s.truths()) for s in before
    ]


def test_parts_are_no_larger_than_asked_and_hold_everything(tmp_path: Path) -> None:
    files = [(f"{i}.bin", bytes(400)) for i in range(5)]
    (tmp_path / "city-07.tar").touch()
    parts = write_parts(files, tmp_path, "city", most=1000)
    assert [p.name for p in sorted(tmp_path.glob("*.tar"))] == [p.name for p in parts]
    held = []
    for part in parts:
        with tarfile.open(part) as tar:
            members = tar.getmembers()
        assert sum(m.size for m in members) <= 1000
        held += [m.name for m in members]
    assert held == [f"city/{name}" for name, _ in files]


def test_a_folder_without_parts_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no \.tar files"):
        unpack(tmp_path, tmp_path / "work")


def test_checkpoints_are_copied_during_and_after_a_run(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    (run / "weights").mkdir(parents=True)
    out.mkdir()
    with Copying(run, out, every_s=0.02):
        (run / "weights/last.pt").write_bytes(b"first")
        ends = time.monotonic() + 10
        while not (out / "last.pt").is_file() and time.monotonic() < ends:
            time.sleep(0.01)
        assert (out / "last.pt").read_bytes() == b"first"
        (run / "results.csv").write_text("epoch\n")
    assert {p.name for p in out.iterdir()} == {"last.pt", "results.csv"}
