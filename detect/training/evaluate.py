"""Measures the hazard network on labelled pictures, by split and source, as Markdown tables; `make evaluate` runs it.

python -m detect.training.evaluate CORPUS --unseen CORPUS [--weights FILE] [--against FILE] [--device auto] [--out MD]

It uses the detector's own backend and decoding, so it measures what is deployed. Pictures of `--unseen` are from
sources that no training has used. For the event level see bench/confirm.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detect.rules import RULES
from detect.training.augment import EFFECTS
from detect.training.corpus import CorpusError, Sample, Truth, digest, read_corpus, read_image
from detect.training.looks import tables
from detect.training.scores import (
    IOUS,
    LOOSE,
    Matched,
    at_threshold,
    average_precision,
    calibration_error,
    count_detected,
    count_weapons,
    match,
    reliability,
)
from functions import HAZARDS, Detection
from models.letterbox import Image
from models.network import HAZARD, Network
from models.registry import ModelError

_LEAST = 0.001
"""Average precision needs every box, whatever its confidence."""
_BATCH = 8
Finder = Callable[[Sequence[Image]], list[list[Detection]]]


@dataclass(frozen=True, slots=True)
class Looked:
    """Detections in some pictures, and their labels."""

    samples: Sequence[Sample]
    found: Sequence[Sequence[Detection]]
    truths: Sequence[Sequence[Truth]]

    def of(self, source: str) -> Looked:
        """The pictures of one source."""
        kept = [i for i, s in enumerate(self.samples) if s.source == source]
        return Looked([self.samples[i] for i in kept], [self.found[i] for i in kept], [self.truths[i] for i in kept])

    def matched(self, ious: Sequence[float] = IOUS) -> list[Matched]:
        """One for each of `HAZARDS`."""
        return [match(self.found, self.truths, number, ious) for number in range(len(HAZARDS))]


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the corpus whose splits val and test are measured")
    parser.add_argument(
        "--unseen",
        type=Path,
        nargs="*",
        default=[],
        help="more corpora that no training used: val and test, or all",
    )
    parser.add_argument("--weights", type=Path, default=HAZARD.path)
    parser.add_argument("--against", type=Path, help="other weights, to compare the mAP of each set and effect")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--effects", type=int, default=0, metavar="N", help="also through each effect, on about N pictures"
    )
    parser.add_argument("--effects-of", choices=["val", "test"], default="test", help="the split that they are from")
    parser.add_argument(
        "--looks",
        type=Path,
        nargs="*",
        default=[],
        help="corpora of weapons, to compare whole frames, tiles and people",
    )
    parser.add_argument("--looks-pictures", type=int, default=0, metavar="N", help="on about N pictures; 0: on all")
    parser.add_argument("--out", type=Path, help="where to write the tables")
    chosen = parser.parse_args()
    try:
        lines = _measure(chosen)
        for folder in chosen.looks:
            lines += ["", *tables(folder, chosen.weights, chosen.device, chosen.looks_pictures)]
    except (CorpusError, ModelError) as error:
        parser.error(str(error))
    print("\n".join(lines))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text("\n".join(lines) + "\n")


def _measure(chosen: argparse.Namespace) -> list[str]:
    """Lines of all requested tables."""
    sets = {split: [s for s in read_corpus(chosen.data) if s.split == split] for split in ("val", "test")}
    sets |= {f"unseen: {folder.name}": _unseen(read_corpus(folder)) for folder in chosen.unseen}
    network = open_network(chosen.weights, chosen.threads, chosen.device)
    other = open_network(chosen.against, chosen.threads, chosen.device) if chosen.against else None
    lines = [f"Weights `{chosen.weights.name}` at {network.size_px} px, measured by `make evaluate`."]
    looked = {name: look(samples, network.detect) for name, samples in sets.items()}
    lines += ["", *_sets_table(looked), "", *_sources_table(looked), "", *_reliability_table(looked)]
    if other:
        lines += ["", *_against_table(looked, {n: look(s, other.detect) for n, s in sets.items()}, chosen.against.name)]
    if chosen.effects:
        lines += [
            "",
            *_effects_table(_even(sets[chosen.effects_of], chosen.effects), chosen.effects_of, network, other),
        ]
    lines += ["", "Pictures and labels (sha256 over all):", ""]
    lines += [f"- {name}: {len(samples)} pictures, `{digest(samples)[:16]}`" for name, samples in sets.items()]
    return lines


def look(samples: Sequence[Sample], finder: Finder, effect: Callable[[Image], Image] | None = None) -> Looked:
    """Run a detector over pictures, some at a time.

    Args:
        samples: which.
        finder: `Network.detect`, or a function like it.
        effect: applied to each picture first.
    """
    found: list[list[Detection]] = []
    for part in _parts(samples):
        images = [read_image(sample) for sample in part]
        found += finder([effect(image) for image in images] if effect else images)
    return Looked(samples, found, [sample.truths() for sample in samples])


def _unseen(samples: list[Sample]) -> list[Sample]:
    """The held-out pictures of a corpus with splits; all pictures of one with a single split."""
    aside = [s for s in samples if s.split != "train"]
    return aside or samples


def mean_ap(matched: Sequence[Matched]) -> tuple[float, float]:
    """mAP50 and mAP50-95 over the hazards that have labels."""
    scores = [average_precision(m) for m in matched if m.truths]
    return (float(np.mean([s[0] for s in scores])), float(np.mean(scores))) if scores else (float("nan"),) * 2


def open_network(path: Path, threads: int = 2, device: str = "auto") -> Network:
    """The hazard network in a file, which returns boxes of any confidence, as average precision needs them."""
    return Network(replace(HAZARD, path=path, int8=None, min_confidence=_LEAST), threads, device)


def _parts(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    return (samples[i : i + _BATCH] for i in range(0, len(samples), _BATCH))


def _even(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    return samples[:: max(1, len(samples) // count)]


def _sets_table(looked: Mapping[str, Looked]) -> list[str]:
    rows = [
        "| pictures | hazard | labelled | AP50 | AP50-95 | AP10 | precision | recall "
        "| detected where shown | elsewhere |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, all_of in looked.items():
        matched, loose = all_of.matched(), all_of.matched([LOOSE])
        for number, (hazard, m) in enumerate(zip(HAZARDS, matched, strict=True)):
            if m.truths:
                scores = average_precision(m)
                precision, recall = at_threshold(m, RULES[hazard].threshold)
                right, shown, wrong, others = count_detected(
                    all_of.found, all_of.truths, number, RULES[hazard].threshold
                )
                rows.append(
                    f"| {name} | {hazard} | {m.truths} | {scores[0]:.3f} | {scores.mean():.3f} "
                    f"| {average_precision(loose[number])[0]:.3f} | {_number(precision)} | {_number(recall)} "
                    f"| {right} of {shown} | {wrong} of {others} |"
                )
        weapons = count_weapons(all_of.found, all_of.truths, {h: RULES[h].threshold for h in HAZARDS})
        if weapons.shown:
            rows.append(
                f"| {name} | any weapon | | | | | | | {weapons.right} of {weapons.shown} "
                f"| {weapons.wrong} of {weapons.absent} |"
            )
        ap50, ap = mean_ap(matched)
        rows.append(
            f"| {name} | **all** | {sum(m.truths for m in matched)} | **{ap50:.3f}** | **{ap:.3f}** "
            f"| {mean_ap(loose)[0]:.3f} | | | | |"
        )
    return [
        *rows,
        "",
        "Precision and recall are of boxes at the thresholds of `detect/rules.py`. Detected: pictures that show it, "
        "and others, in which it is detected anywhere at that threshold. AP10: an overlap of a tenth is enough.",
    ]


def _sources_table(looked: Mapping[str, Looked]) -> list[str]:
    rows = [
        "| pictures | source | hazard | pictures of it | labelled | AP50 | precision | recall | false a picture |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, all_of in looked.items():
        for source in sorted({s.source for s in all_of.samples}):
            part = all_of.of(source)
            for hazard, m in zip(HAZARDS, part.matched(), strict=True):
                threshold = RULES[hazard].threshold
                wrong = int((m.confidence >= threshold).sum() - m.hit[m.confidence >= threshold, 0].sum())
                if not m.truths and not wrong:
                    continue
                precision, recall = at_threshold(m, threshold)
                ap50 = average_precision(m)[0]
                rows.append(
                    f"| {name} | {source} | {hazard} | {len(part.samples)} | {m.truths} | {_number(ap50)} "
                    f"| {_number(precision)} | {_number(recall)} | {wrong / len(part.samples):.3f} |"
                )
    return rows


def _reliability_table(looked: Mapping[str, Looked]) -> list[str]:
    rows = ["| pictures | confidence | correct | boxes |", "|---|---|---|---|"]
    errors = []
    for name, all_of in looked.items():
        bins = reliability([_from(m, HAZARD.min_confidence) for m in all_of.matched()])
        rows += [f"| {name} | {mean:.2f} | {share:.2f} | {count} |" for mean, share, count in bins]
        errors.append(f"{name} {calibration_error(bins):.3f}")
    return [
        *rows,
        "",
        f"Reliability: mean confidence, and the share of boxes that were correct. Mean error: {', '.join(errors)}.",
    ]


def _against_table(looked: Mapping[str, Looked], other: Mapping[str, Looked], name: str) -> list[str]:
    rows = [f"| pictures | hazard | AP50 of `{name}` | AP50 | change |", "|---|---|---|---|---|"]
    for which, now in looked.items():
        for hazard, before, after in zip(HAZARDS, other[which].matched(), now.matched(), strict=True):
            if after.truths:
                was, is_now = average_precision(before)[0], average_precision(after)[0]
                rows.append(f"| {which} | {hazard} | {was:.3f} | {is_now:.3f} | {is_now - was:+.3f} |")
    return rows


def _effects_table(samples: Sequence[Sample], split: str, network: Network, other: Network | None) -> list[str]:
    """The same pictures with each effect of `detect.training.augment`, always at the same strength."""
    rows = [f"| {len(samples)} {split} pictures seen through | mAP50 before | mAP50 |", "|---|---|---|"]
    for name, effect in {"nothing": None, **{name: effect for name, (_, effect) in EFFECTS.items()}}.items():
        scores = []
        for which in (other, network):
            if which is None:
                scores.append("")
                continue
            seen = look(samples, which.detect, _through(effect) if effect else None)
            scores.append(f"{mean_ap(seen.matched())[0]:.3f}")
        rows.append(f"| {name} | {scores[0]} | {scores[1]} |")
    return rows


def _through(effect: Callable[[Image, np.random.Generator], Image]) -> Callable[[Image], Image]:
    rng = np.random.default_rng(0)
    return lambda image: effect(image, rng)


def _from(matched: Matched, least: float) -> Matched:
    kept = matched.confidence >= least
    return Matched(matched.confidence[kept], matched.hit[kept], matched.truths)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
