"""Ultralytics' trainer, drawing pictures evenly, through cameras' eyes, and within a time; `train` runs it.

Import `models.torch_setup` before this module: ultralytics does not import without it on every machine.
"""

from __future__ import annotations

import csv
import itertools
import math
import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from ultralytics import YOLO
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.plotting import plot_results
from ultralytics.utils.torch_utils import init_seeds

from detect.training.augment import Crop, Paster, watch, zoom
from detect.training.corpus import NEGATIVE, Sample, sampling_weights
from detect.training.recipe import Recipe
from functions import HAZARDS
from functions.hazards import KINDS

_WITHOUT_MOSAIC = 0.15
"""Share of the time, at its end, in which every picture is one picture."""
_CROP_PX = 160
"""Longest side of what is kept for pasting; it is pasted smaller still."""


class HazardDataset(YOLODataset):  # type: ignore[misc]
    """Training pictures: each is drawn by its weight, given something pasted now and then, and seen by some camera."""

    def __init__(
        self, *args: Any, recipe: Recipe, samples: Sequence[Sample], hard: Collection[str], **options: Any
    ) -> None:
        self._recipe = recipe
        super().__init__(*args, **options)
        by_name = {s.path.name: s for s in samples}
        kept = [by_name[Path(path).name] for path in self.im_files]
        weights = sampling_weights(kept, hard, recipe.hard, even=recipe.even)
        self._cumulative = list(itertools.accumulate(weights))
        self._paster = Paster(self._crops(kept), recipe.paste, frozenset([HAZARDS.index("fire")]))

    def __len__(self) -> int:
        return self._recipe.pictures

    def get_image_and_label(self, index: int) -> Any:
        """Any picture, whatever `index` says: the parts of a mosaic are drawn evenly too."""
        (drawn,) = random.choices(range(self.ni), cum_weights=self._cumulative)
        return super().get_image_and_label(drawn)

    def update_labels_info(self, label: dict[str, Any]) -> Any:
        """Where pictures and boxes are still plain arrays: zoom and paste."""
        rng = _rng()
        if rng.random() < self._recipe.zoom:
            # From the file: what is kept in memory has been scaled down already.
            part, label["cls"], label["bboxes"] = zoom(
                np.asarray(cv2.imread(label["im_file"]), np.uint8), label["cls"], label["bboxes"], rng
            )
            label["img"] = _scaled(part, self.imgsz)
            label["resized_shape"] = label["img"].shape[:2]
        label["img"], label["cls"], label["bboxes"] = self._paster.paste(
            label["img"], label["cls"], label["bboxes"], rng
        )
        return super().update_labels_info(label)

    def build_transforms(self, hyp: Any = None) -> Any:
        """The camera comes last but for the change to a tensor, after what was composed of several pictures."""
        transforms = super().build_transforms(hyp)
        transforms.insert(len(transforms.transforms) - 1, _Watch(self._recipe.without))
        return transforms

    def _crops(self, samples: Sequence[Sample]) -> list[Crop]:
        """Every hazard that makes sense in another scene, and as many pieces of pictures without any."""
        rng = np.random.default_rng(self._recipe.seed)
        without = (NEGATIVE, *(hazard for hazard, kind in KINDS.items() if not kind.is_movable))
        crops = []
        for i, sample in enumerate(samples):
            image = self.load_image(i)[0]
            height, width = image.shape[:2]
            for number, (x, y, w, h) in zip(self.labels[i]["cls"].ravel(), self.labels[i]["bboxes"], strict=True):
                left, top = int((x - w / 2) * width), int((y - h / 2) * height)
                piece = image[max(0, top) : top + math.ceil(h * height), max(0, left) : left + math.ceil(w * width)]
                if KINDS[HAZARDS[int(number)]].is_movable and min(piece.shape[:2]) >= 12:
                    crops.append(Crop(_kept(piece), int(number)))
            if sample.label in without and not len(self.labels[i]["cls"]):
                for _ in range(4):
                    w, h = rng.integers(24, 120, 2).tolist()
                    left, top = int(rng.integers(max(1, width - w))), int(rng.integers(max(1, height - h)))
                    crops.append(Crop(_kept(image[top : top + h, left : left + w]), None))
        return crops


class HazardTrainer(DetectionTrainer):  # type: ignore[misc]
    """A trainer that ends in time: learning rate and mosaic follow the clock, as a shared machine's speed changes."""

    last: Path
    best: Path

    def __init__(
        self, recipe: Recipe, samples: Sequence[Sample], hard: Collection[str], options: dict[str, Any]
    ) -> None:
        self._recipe = recipe
        self._samples = samples
        self._hard = hard
        self._before_s = spent_s(Path(options["project"]) / options["name"])
        self._begun_at = self._epoch_at = time.monotonic()
        self._is_mosaic_open = recipe.mosaic > 0
        self.epoch = 0  # the scheduler is asked before the first has begun
        super().__init__(overrides=options)
        # A run that goes on would otherwise draw the very pictures that it began with.
        init_seeds(recipe.seed + 1 + int(self._before_s))
        # On a CPU ultralytics loads pictures between the steps; beside them, a second core has something to do.
        self.args.workers = options["workers"]
        self.add_callback("on_train_epoch_start", HazardTrainer._start_epoch)
        self.add_callback("on_fit_epoch_end", HazardTrainer._end_epoch)

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
            # Ultralytics leaves mixed precision to GPUs. On a CPU that computes in bfloat16 a step takes half the time.
            self.amp = True
            self.model.criterion = InSinglePrecision(self.model.init_criterion())

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        if mode != "train":
            return super().build_dataset(img_path, mode, batch)
        return HazardDataset(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=True,
            hyp=self.args,
            cache="ram",
            prefix="train: ",
            stride=32,
            task="detect",
            data=self.data,
            recipe=self._recipe,
            samples=self._samples,
            hard=self._hard,
        )

    def validate(self) -> Any:
        """Now and then, and after the last epoch: on a CPU it takes as long as a third of an epoch."""
        if (self.epoch + 1) % self._recipe.look_every and not self._is_last():
            return dict(self.metrics), None
        return super().validate()

    def save_model(self) -> Any:
        """Checkpoints are there whole or not at all: who is killed while writing one goes on from that before it."""
        kept = self.last, self.best
        self.last, self.best = (path.with_suffix(".part") for path in kept)
        # What was begun when the run was killed or the disk was full is no best of this epoch.
        self.best.unlink(missing_ok=True)
        try:
            saved = super().save_model()
            for part, path in zip((self.last, self.best), kept, strict=True):
                if part.is_file():
                    part.replace(path)
        finally:
            self.last, self.best = kept
        return saved

    def _setup_scheduler(self) -> None:
        self.lf = lambda _: max(0.02, self._left())
        self.scheduler = LambdaLR(self.optimizer, lr_lambda=self.lf)

    def _start_epoch(self) -> None:
        self._epoch_at = time.monotonic()
        if self._is_mosaic_open and self._left() < _WITHOUT_MOSAIC:
            self._is_mosaic_open = False
            self._close_dataloader_mosaic()
            self.train_loader.reset()

    def _end_epoch(self) -> None:
        self.stop |= self._is_last()

    def _left(self) -> float:
        """Share of the run that is left, by its time or by its epochs, whichever is less."""
        return min(self._time_left(), 1 - float(self.epoch / self.epochs))

    def _time_left(self) -> float:
        return 1 - (self._before_s + time.monotonic() - self._begun_at) / (self._recipe.hours * 3600)

    def _is_last(self) -> bool:
        """Whether another epoch like this one would end too late."""
        epoch_s = time.monotonic() - self._epoch_at
        return self.epoch + 1 >= self.epochs or self._time_left() * self._recipe.hours * 3600 < epoch_s


def has_ended(last: Path) -> bool:
    """Whether all that a run lacks is its last look at the validation split: it was stopped in it."""
    stored = torch.load(last, map_location="cpu", weights_only=False)
    # Ultralytics takes the epoch out of a checkpoint with which it has finished.
    return bool(stored["epoch"] < 0 or stored["epoch"] + 1 >= stored["train_args"]["epochs"])


def look_at_best(options: dict[str, Any]) -> None:
    """That last look: the curves and the confusion matrix, into the folder of the run."""
    run = Path(options["project"]) / options["name"]
    same = {
        name: options[name] for name in ("data", "project", "name", "exist_ok", "device", "workers", "imgsz", "batch")
    }
    YOLO(run / "weights/best.pt").val(plots=True, **same)
    plot_results(file=run / "results.csv")


def spent_s(run: Path) -> float:
    """Seconds of training that a run has had, over all its starts: each start counts from nothing in `results.csv`."""
    try:
        with (run / "results.csv").open(encoding="utf-8", newline="") as file:
            times = [float(row["time"]) for row in csv.DictReader(file)]
    except OSError:
        return 0.0
    ends = [now for now, after in itertools.pairwise([*times, 0.0]) if after <= now]
    return sum(ends)


class InSinglePrecision:
    """A loss that is not computed in bfloat16, whose eight bits would round a box's edge to a tenth of its stride."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss

    def __call__(self, predictions: dict[str, Any], batch: dict[str, Any]) -> Any:
        precise = {name: _as_float(value) for name, value in predictions.items()}
        with torch.autocast("cpu", enabled=False):
            return self._loss(precise, batch)


def _as_float(value: Any) -> Any:
    return [each.float() for each in value] if isinstance(value, list) else value.float()


class _Watch:
    def __init__(self, without: Sequence[str]) -> None:
        self._without = tuple(without)

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        labels["img"] = watch(labels["img"], _rng(), self._without)
        return labels


def _rng() -> np.random.Generator:
    """From `random`, which the loader seeds in each of its processes."""
    return np.random.default_rng(random.getrandbits(64))


def _kept(piece: Any) -> Any:
    return _scaled(piece, min(_CROP_PX, max(piece.shape[:2])))


def _scaled(piece: Any, longer_px: int) -> Any:
    """A copy with its longer side of so many pixels."""
    scale = longer_px / max(piece.shape[:2])
    size = max(1, round(piece.shape[1] * scale)), max(1, round(piece.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(piece, size, interpolation=way))
