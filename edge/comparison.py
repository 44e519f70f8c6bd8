"""Compares two versions of a model: scores first, each with whether it improved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.artefact import FILE_PATH, Version

Verdict = Literal["better", "worse", "same", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a comparison."""

    what: str
    before: str
    after: str
    verdict: Verdict
    change: str


def compare(old: Version, new: Version) -> list[Change]:
    """The differences, scores first; equal scores are listed too."""
    lower = {*old.card.lower_is_better, *new.card.lower_is_better}
    changes = [
        _compare_score(name, old.card.metrics.get(name), new.card.metrics.get(name), name in lower)
        for name in dict.fromkeys((*old.card.metrics, *new.card.metrics))
    ]
    changes += _compare_texts("threshold", _texts(old.card.thresholds), _texts(new.card.thresholds))
    facts = ("labels", "input_px", "task", "licence", "architectures")
    changes += _compare_texts("", *({f: _text(getattr(v.card, f)) for f in facts} for v in (old, new)))
    changes += _compare_texts("file", _files(old), _files(new))
    return changes


def _compare_score(name: str, old: float | None, new: float | None, is_lower_better: bool) -> Change:
    if old is None or new is None:
        present = new if old is None else old
        assert present is not None, "a score is named by one of the two"
        verdict: Verdict = "added" if old is None else "removed"
        shown = f"{present:.4g}"
        return Change(name, "" if old is None else shown, shown if old is None else "", verdict, verdict)
    difference = new - old
    if difference == 0:
        return Change(name, f"{old:.4g}", f"{new:.4g}", "same", "same")
    verdict = "better" if (difference < 0) == is_lower_better else "worse"
    return Change(name, f"{old:.4g}", f"{new:.4g}", verdict, f"{difference:+.4g} {verdict}")


def _compare_texts(kind: str, old: dict[str, str], new: dict[str, str]) -> list[Change]:
    changes = []
    for name in dict.fromkeys((*old, *new)):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after:
            verdict: Verdict = "added" if not before else "removed" if not after else "changed"
            changes.append(Change(f"{kind} {name}".strip(), before, after, verdict, verdict))
    return changes


def _texts(scores: dict[str, float]) -> dict[str, str]:
    return {name: f"{score:g}" for name, score in scores.items()}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)


def _files(version: Version) -> dict[str, str]:
    return {layer.annotations[FILE_PATH]: layer.digest[7:19] for layer in version.manifest.layers}
