"""Labelled pictures for tests of training and evaluation, drawn and written as a corpus."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

HEADER = "file,source_repo,split,classes,scene,sha256\n"


def corpus(folder: Path, *rows: tuple[str, str, str, str, str], labels: str = "1 0.5 0.5 0.2 0.4\n") -> Path:
    """A corpus of grey pictures; a row is (name, source, split, label, scene)."""
    lines = [HEADER]
    for name, source, split, label, scene in rows:
        image = folder / split / "images" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        (folder / split / "labels").mkdir(exist_ok=True)
        cv2.imwrite(str(image), np.full((48, 64, 3), len(lines) * 2, np.uint8))
        (folder / split / "labels" / f"{name}.txt").write_text("" if label == "negative" else labels)
        total = hashlib.sha256(image.read_bytes()).hexdigest()
        lines.append(f"{split}/images/{name}.png,{source},{split},{label},{scene},{total}\n")
    (folder / "manifest.csv").write_text("".join(lines))
    return folder
