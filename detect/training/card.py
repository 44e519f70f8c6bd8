"""Writes a training run's model card into its folder: method, data and scores; `train` calls it."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from detect.training.recipe import load_recipe


def write_card(run: Path) -> Path:
    """Write `card.md` from the run's files: recipe, sources, curve and best weights."""
    made_from = msgspec.json.decode((run / "made_from.json").read_bytes())
    best = run / "weights/best.pt"
    lines = [
        f"# {run.name}",
        "",
        f"`{best.name}`, sha256 `{hashlib.sha256(best.read_bytes()).hexdigest()}`",
        f"Started from `{made_from['weights']['name']}`, sha256 `{made_from['weights']['sha256']}`.",
        "",
        "| recipe | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in msgspec.to_builtins(load_recipe(run / "recipe.json")).items()),
        "",
        *_pictures("train", made_from["train"]),
        "",
        *_pictures("val", made_from["val"]),
        "",
        *_curve(run / "results.csv"),
        "",
        "Curves: `results.png`, `BoxPR_curve.png`; confusions: `confusion_matrix.png`. By source: `make evaluate`.",
    ]
    path = run / "card.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _pictures(split: str, described: dict[str, Any]) -> list[str]:
    rows = [f"| {split}: source, label | pictures |", "|---|---|"]
    rows += [f"| {name} | {count} |" for name, count in sorted(described["by_source"].items())]
    return [*rows, f"| all (sha256 `{described['sha256'][:16]}`) | {described['pictures']} |"]


def _curve(results: Path) -> list[str]:
    """The epochs that were validated: the others repeat the numbers of the last validation."""
    rows = ["| epoch | box loss | class loss | mAP50 | mAP50-95 |", "|---|---|---|---|---|"]
    before = ""
    with results.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            score = row["metrics/mAP50(B)"]
            shown = "" if score in (before, "0") else f"{float(score):.3f} | {float(row['metrics/mAP50-95(B)']):.3f}"
            losses = f"{float(row['train/box_loss']):.2f} | {float(row['train/cls_loss']):.2f}"
            rows.append(f"| {row['epoch']} | {losses} | {shown or ' | '} |")
            before = score
    return rows
