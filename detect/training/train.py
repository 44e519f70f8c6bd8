"""Trains the hazard network; needs the `train` extra. `make train DATA=FOLDER DEVICE=cpu` runs it.

python -m detect.training.train FOLDER --weights START.pt [--recipe FILE.json] [--device cpu|0] [--run runs/hazard]

FOLDER is a corpus (`detect.training.corpus`). The run folder gets the recipe, what it was made from with all checksums,
the curves, the confusion matrix, the weights and a model card. A run that was stopped continues if started again.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detect.training.card import write_card
from detect.training.corpus import CorpusError, Sample, digest, read_corpus, read_hard
from detect.training.people import People, read_people
from detect.training.recipe import Recipe, load_recipe
from functions import HAZARDS
from models.registry import WEIGHTS, ModelError, record

MADE_FROM = "made_from.json"


def main() -> None:
    """Start training, or continue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the corpus; its splits train and val are used, test is not")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS / "hazard4_320.pt", help="where to start: a recorded .pt"
    )
    parser.add_argument(
        "--network", choices=["n", "s", "m"], help="begin with an untrained YOLOv8 of this size instead"
    )
    parser.add_argument("--recipe", type=Path, help="numbers that differ from those of detect/training/recipe.py")
    parser.add_argument("--final", type=Path, nargs="*", default=[], help="more corpora whose train split is added")
    parser.add_argument(
        "--hard", type=Path, help="a list of pictures to draw more often (`python -m detect.training.hard_examples`)"
    )
    parser.add_argument("--people", type=Path, help="a list of people in pictures (`python -m detect.training.people`)")
    parser.add_argument("--run", type=Path, default=Path("runs/hazard"), help="the folder of this run")
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch on a CPU")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare pictures")
    parser.add_argument(
        "--hours", type=float, default=math.inf, help="stop after the epoch that passes this; the next start continues"
    )
    chosen = parser.parse_args()
    try:
        recipe = load_recipe(chosen.recipe) if chosen.recipe else Recipe()
        samples = read_corpus(chosen.data)
        samples += [s for folder in chosen.final for s in read_corpus(folder) if s.split == "train"]
        hard = read_hard(chosen.hard) if chosen.hard else frozenset[str]()
        people = read_people(chosen.people) if chosen.people else None
    except (CorpusError, ValueError) as error:
        parser.error(str(error))
    try:
        train(
            samples,
            recipe,
            chosen.network or chosen.weights,
            chosen.run,
            hard=hard,
            people=people,
            device=chosen.device,
            threads=chosen.threads,
            workers=chosen.workers,
            hours=chosen.hours,
        )
    except (CorpusError, ModelError) as error:
        parser.error(str(error))


def train(
    samples: Sequence[Sample],
    recipe: Recipe,
    weights: Path | str,
    run: Path,
    *,
    hard: Collection[str] = (),
    people: People | None = None,
    device: str = "cpu",
    threads: int = 0,
    workers: int = 1,
    hours: float = math.inf,
) -> Path:
    """Train until the recipe's epochs are over, from where the run in that folder was stopped.

    Args:
        samples: pictures of the splits train and val.
        recipe: the numbers of the run, which may not change between its starts.
        weights: where it starts: a file, or the size (n, s, m) of a YOLOv8 to begin untrained.
        run: its folder.
        hard: names of pictures to draw more often.
        people: the people in pictures, which `Recipe.people` and `Recipe.armed` need.
        device: `cpu`, or the number of a GPU.
        threads: of torch on a CPU; 0 for torch's default.
        workers: processes that prepare pictures.
        hours: stop after the epoch that passes this; the next start continues.

    Returns:
        The best weights by the validation split so far, as a .pt file of tensors.

    Raises:
        CorpusError: there is nothing to train on or to validate with, or two pictures have one name.
        ModelError: the run is finished, was begun with other inputs, or weights cannot be read.
    """
    _check(samples)
    if (recipe.people or recipe.armed) and not people:
        raise CorpusError(
            "the recipe crops or arms people: list them with `python -m detect.training.people`, --people"
        )
    run = run.resolve()
    if (run / "card.md").is_file():
        raise ModelError(f"the run in {run} is finished: choose another folder with --run")
    from models import torch_setup

    torch_setup.prepare(threads)
    from detect.training.run_state import read_state
    from detect.training.trainer import HazardTrainer, look_at_best
    from models.checkpoint import read_checkpoint, untrained

    network = untrained(weights) if isinstance(weights, str) else read_checkpoint(weights, pickles=True).network
    last, best = run / "weights/last.pt", run / "weights/best.pt"
    record_of_run = _described_run(samples, hard, people or {}, recipe, weights)
    if last.is_file():
        _compare(record_of_run, run)
    else:
        (run / "results.csv").unlink(missing_ok=True)
    options = _options(recipe, run, device, workers)
    options["data"] = str(_write_data(samples, record_of_run, recipe, run))
    if not last.is_file() or read_state(last).epoch + 1 < recipe.epochs:
        training = [s for s in samples if s.split == "train"]
        HazardTrainer(
            recipe, network, training, options, hard=hard, people=people or {}, stop_after_s=hours * 3600
        ).train()
    if best.is_file():
        record(best)
    if (done := read_state(last).epoch + 1) < recipe.epochs:
        print(f"Stopped after epoch {done} of {recipe.epochs}: the same command continues.")
        return best
    look_at_best(options)
    write_card(run)
    return best


def _check(samples: Sequence[Sample]) -> None:
    """Check what ultralytics does not: pictures' names must be unique, and no split may be empty."""
    for split in ("train", "val"):
        names = Counter(sample.path.stem for sample in samples if sample.split == split)
        if not names:
            raise CorpusError(f"no picture is in the split {split!r}: training needs some in train and in val")
        name, times = names.most_common(1)[0]
        if times > 1:
            raise CorpusError(f"{times} pictures in the split {split!r} are named {name!r}: give each its own name")


def _options(recipe: Recipe, run: Path, device: str, workers: int) -> dict[str, Any]:
    """The recipe as ultralytics' options."""
    return {
        "project": str(run.parent),
        "name": run.name,
        "exist_ok": True,
        "model": "yolov8n.yaml",
        "device": device,
        "workers": workers,
        "imgsz": recipe.size_px,
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "nbs": recipe.batch,
        "optimizer": "AdamW",
        "lr0": recipe.lr,
        "freeze": recipe.frozen,
        "warmup_epochs": 0.5,
        "warmup_bias_lr": 0.0,
        "mosaic": recipe.mosaic,
        "close_mosaic": 0,
        "scale": recipe.scale,
        "translate": 0.15,
        "degrees": 5.0,
        "fliplr": 0.5,
        "hsv_s": 0.6,
        "hsv_v": 0.4,
        "erasing": 0.0,
        "patience": 0,
        "seed": recipe.seed,
        "amp": False if device == "cpu" else "bf16",
        "plots": True,
        "val": True,
    }


def _described_run(
    samples: Sequence[Sample], hard: Collection[str], people: People, recipe: Recipe, weights: Path | str
) -> dict[str, Any]:
    """The inputs of a run, for its card; they must be the same at each start."""
    start = (
        {"name": f"YOLOv8{weights}, untrained", "sha256": ""}
        if isinstance(weights, str)
        else {"name": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    )
    return {
        "weights": start,
        "train": _described([s for s in samples if s.split == "train"]),
        "val": _described([s for s in samples if s.split == "val"]),
        "hard": sorted(hard),
        "people": hashlib.sha256(msgspec.json.encode(people, order="deterministic")).hexdigest() if people else "",
        "recipe": msgspec.json.decode(msgspec.json.encode(recipe)),
    }


def _compare(now: dict[str, Any], run: Path) -> None:
    """Refuse to continue a run with other numbers, pictures or weights: its card would be wrong."""
    try:
        was = msgspec.json.decode((run / MADE_FROM).read_bytes())
        recipe = was["recipe"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise ModelError(
            f"the run in {run} has no record of how it was begun ({error}): choose another --run"
        ) from None
    changed = [
        f"{name} {recipe.get(name)!r} and not {value!r}"
        for name, value in now["recipe"].items()
        if recipe.get(name) != value
    ]
    changed += [f"other {name}" for name in ("weights", "train", "val", "hard", "people") if was.get(name) != now[name]]
    if changed:
        raise ModelError(
            f"the run in {run} was begun with {', '.join(changed)}: continue with the same, or choose "
            f"another folder with --run"
        )


def _write_data(samples: Sequence[Sample], record_of_run: dict[str, Any], recipe: Recipe, run: Path) -> Path:
    """Write the lists for ultralytics, and the inputs of this run."""
    for split in ("train", "val"):
        _link([s for s in samples if s.split == split and (split == "train" or _is_known(s))], run / "pictures" / split)
    recipe.save(run / "recipe.json")
    (run / MADE_FROM).write_bytes(msgspec.json.format(msgspec.json.encode(record_of_run), indent=1))
    names = "\n".join(f"  {i}: {name}" for i, name in enumerate(HAZARDS))
    path = run / "data.yaml"
    path.write_text(f"train: {run}/pictures/train/images\nval: {run}/pictures/val/images\nnames:\n{names}\n")
    return path


def _is_known(sample: Sample) -> bool:
    """Whether a picture can be used for validation: ultralytics' scores do not support a weapon of unknown kind."""
    return all(truth.number < len(HAZARDS) for truth in sample.truths())


def _link(samples: Sequence[Sample], folder: Path) -> None:
    """Link the pictures of a split into the run's folder, because ultralytics writes a cache next to its input.

    It reads everything there, so links of an earlier start are removed; files that are not links are left alone.
    """
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for link in (folder / kind).iterdir():
            if link.is_symlink():
                link.unlink()
    for sample in samples:
        for kind, target in (("images", sample.path), ("labels", sample.labels_path)):
            (folder / kind / target.name).symlink_to(target)


def _described(samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "pictures": len(samples),
        "sha256": digest(samples),
        "by_source": {f"{s}, {label}": n for (s, label), n in Counter((s.source, s.label) for s in samples).items()},
    }


if __name__ == "__main__":
    main()
