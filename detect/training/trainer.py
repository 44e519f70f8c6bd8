"""Ultralytics' trainer with balanced sampling, camera effects and exact continuation; `train` runs it.

Import `models.torch_setup` before this module: without it ultralytics cannot be imported on some machines.
"""

from __future__ import annotations

import hashlib
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
from ultralytics.data.build import build_dataloader
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.plotting import plot_results

from detect.training.augment import watch, zoom, zoom_on_person
from detect.training.corpus import LABELS, NEGATIVE, Sample, sampling_weights
from detect.training.loss import HazardLoss
from detect.training.paste import Crop, Paster
from detect.training.people import People
from detect.training.recipe import Recipe
from detect.training.run_state import RunState, read_state, write_whole
from functions import HAZARDS
from functions.hazards import KINDS
from models.checkpoint import as_yolo, read_checkpoint, write_state

_WITHOUT_MOSAIC = 0.15
"""The last share of the run, without mosaics."""
_CROP_PX = 160
"""Longest side of the crops that are kept for pasting; they are pasted smaller."""


class HazardDataset(YOLODataset):  # type: ignore[misc]
    """Training pictures: drawn by their weights, sometimes with pasted objects, and with a random camera's effects."""

    def __init__(
        self,
        *args: Any,
        recipe: Recipe,
        samples: Sequence[Sample],
        hard: Collection[str],
        people: People,
        **options: Any,
    ) -> None:
        self._recipe = recipe
        self._people = people
        self.epoch = 0
        super().__init__(*args, **options)
        by_name = {s.path.name: s for s in samples}
        kept = [by_name[Path(path).name] for path in self.im_files]
        weights = sampling_weights(kept, hard, recipe.hard, even=recipe.even)
        self._cumulative = list(itertools.accumulate(weights))
        self._paster = Paster(self._crops(kept), recipe.paste, frozenset([HAZARDS.index("fire")]))

    def __len__(self) -> int:
        return self._recipe.pictures

    def __getitem__(self, index: int) -> Any:
        """The picture with that index in this epoch, the same in every process and after any number of starts."""
        seed = int.from_bytes(hashlib.sha256(f"{self._recipe.seed} {self.epoch} {index}".encode()).digest()[:4])
        random.seed(seed)
        np.random.seed(seed)  # ultralytics' augmentation uses numpy's global generator
        return super().__getitem__(index)

    def get_image_and_label(self, index: int) -> Any:
        """A random picture, whatever `index` is, so that the parts of a mosaic are balanced too."""
        (drawn,) = random.choices(range(self.ni), cum_weights=self._cumulative)
        return super().get_image_and_label(drawn)

    def update_labels_info(self, label: dict[str, Any]) -> Any:
        """Crop and paste here, where pictures and boxes are still plain arrays."""
        rng, recipe = _rng(), self._recipe
        people = self._people.get(Path(label["im_file"]).name, ())
        is_cropped, is_around, is_armed = rng.random(3) < (recipe.zoom, recipe.people, recipe.armed)
        image, numbers, boxes = label["img"], label["cls"], label["bboxes"]
        if is_cropped or (people and (is_around or is_armed)):
            # From the file: the copy in memory has been scaled down already.
            image = np.asarray(cv2.imread(label["im_file"]), np.uint8)
            if is_armed:
                image, numbers, boxes = self._paster.arm(image, numbers, boxes, people, rng)
            if people and is_around:
                person = people[int(rng.integers(len(people)))]
                image, numbers, boxes = zoom_on_person(image, numbers, boxes, person, rng)
            elif is_cropped:
                image, numbers, boxes = zoom(image, numbers, boxes, rng)
            image = _scaled(image, self.imgsz)
            label["resized_shape"] = image.shape[:2]
        label["img"], label["cls"], label["bboxes"] = self._paster.paste(image, numbers, boxes, rng)
        return super().update_labels_info(label)

    def build_transforms(self, hyp: Any = None) -> Any:
        """Camera effects come last, after composing pictures, only before the conversion to a tensor."""
        transforms = super().build_transforms(hyp)
        transforms.insert(len(transforms.transforms) - 1, _Watch(self._recipe.without))
        return transforms

    def _crops(self, samples: Sequence[Sample]) -> list[Crop]:
        """Crops of all hazards that can be pasted, and as many crops of pictures without any."""
        rng = np.random.default_rng(self._recipe.seed)
        without = (NEGATIVE, *(hazard for hazard, kind in KINDS.items() if not kind.is_movable))
        crops = []
        for i, sample in enumerate(samples):
            image = self.load_image(i)[0]
            height, width = image.shape[:2]
            numbers = self.labels[i]["cls"].ravel().astype(int).tolist()
            for number, (x, y, w, h) in zip(numbers, self.labels[i]["bboxes"], strict=True):
                left, top = int((x - w / 2) * width), int((y - h / 2) * height)
                piece = image[max(0, top) : top + math.ceil(h * height), max(0, left) : left + math.ceil(w * width)]
                is_movable = number >= len(HAZARDS) or KINDS[HAZARDS[number]].is_movable
                if is_movable and min(piece.shape[:2]) >= 12:
                    crops.append(Crop(_kept(piece), number))
            if sample.label in without and not len(self.labels[i]["cls"]):
                for _ in range(4):
                    w, h = rng.integers(24, 120, 2).tolist()
                    left, top = int(rng.integers(max(1, width - w))), int(rng.integers(max(1, height - h)))
                    crops.append(Crop(_kept(image[top : top + h, left : left + w]), None))
        return crops


class HazardTrainer(DetectionTrainer):  # type: ignore[misc]
    """A trainer that can stop after any epoch and continues exactly: random seeds and the rate depend on the epoch.

    Its checkpoints are `weights/last.pt` (`run_state`) and `weights/best.pt` (`models.checkpoint.write_state`), both
    with tensors and plain values only.
    """

    last: Path
    best: Path

    def __init__(
        self,
        recipe: Recipe,
        network: Any,
        samples: Sequence[Sample],
        options: dict[str, Any],
        *,
        hard: Collection[str],
        people: People,
        stop_after_s: float = math.inf,
    ) -> None:
        self._recipe = recipe
        self._network = network
        self._samples = samples
        self._hard = hard
        self._people = people
        self._stop_at = time.monotonic() + stop_after_s
        self._is_mosaic_open = recipe.mosaic > 0
        super().__init__(overrides=options)
        # On a CPU ultralytics loads pictures between the steps; in parallel, a second core is used.
        self.args.workers = options["workers"]
        self.add_callback("on_train_epoch_start", HazardTrainer._start_epoch)
        self.add_callback("on_fit_epoch_end", HazardTrainer._end_epoch)

    def setup_model(self) -> None:
        """Build the network from the given one; no checkpoint is opened here."""
        self.model = self.get_model(cfg=self._network.yaml, weights=self._network, verbose=False)

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
            # Ultralytics uses mixed precision only on GPUs. On a CPU with bfloat16 a step takes half the time.
            self.amp = True
        self.model.criterion = InSinglePrecision(HazardLoss(self.model), self.device.type)

    def resume_training(self, ckpt: Any) -> None:
        """Continue from `last.pt` if it exists; ultralytics calls this once everything is built."""
        if self.last.is_file():
            state = read_state(self.last)
            state.restore(self)
            self.csv.write_text(state.results)

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Our dataset for training, ultralytics' for validation."""
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
            data={**self.data, "names": dict(enumerate(LABELS)), "nc": len(LABELS)},
            recipe=self._recipe,
            samples=self._samples,
            hard=self._hard,
            people=self._people,
        )

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Load in order: an index already maps to a random picture, and a shuffled order would depend on the start."""
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        return build_dataloader(dataset, batch_size, self.args.workers, shuffle=False, rank=rank, device=self.device)

    def plot_training_labels(self) -> None:
        """Does nothing: ultralytics would use the network's class names, which lack the weapon of unknown kind."""

    def plot_training_samples(self, batch: dict[str, Any], ni: int) -> None:
        """Does nothing, for the same reason."""

    def validate(self) -> Any:
        """Validate at intervals and after the last epoch: on a CPU it takes as long as a third of an epoch."""
        if (self.epoch + 1) % self._recipe.look_every and self.epoch + 1 < self.epochs:
            return dict(self.metrics), None
        return super().validate()

    def save_model(self) -> bool:
        """Write checkpoints atomically: a run that is killed meanwhile continues from the previous one."""
        if self.fitness is not None and self.fitness == self.best_fitness:
            write_whole(self.best, lambda path: write_state(self.ema.ema, self._recipe.size_px, path))
        write_whole(self.last, RunState.of(self).write)
        return True

    def final_eval(self) -> None:
        """Does nothing: `look_at_best` does it, also for a run that was stopped there."""

    def _setup_scheduler(self) -> None:
        self.lf = lambda epoch: max(0.02, 1 - epoch / self.epochs)
        self.scheduler = LambdaLR(self.optimizer, lr_lambda=self.lf)

    def _start_epoch(self) -> None:
        dataset = self.train_loader.dataset
        dataset.epoch = self.epoch
        if self._is_mosaic_open and self.epoch >= self.epochs * (1 - _WITHOUT_MOSAIC):
            self._is_mosaic_open = False
            self._close_dataloader_mosaic()
        # The processes that load pictures are forked from this one now, so they know the epoch.
        self.train_loader.reset()

    def _end_epoch(self) -> None:
        self.stop |= time.monotonic() >= self._stop_at


def look_at_best(options: dict[str, Any]) -> None:
    """The final validation: writes the curves and the confusion matrix into the run's folder."""
    run = Path(options["project"]) / options["name"]
    same = {
        name: options[name] for name in ("data", "project", "name", "exist_ok", "device", "workers", "imgsz", "batch")
    }
    as_yolo(read_checkpoint(run / "weights/best.pt").network).val(plots=True, **same)
    plot_results(file=run / "results.csv")


class InSinglePrecision:
    """Computes a loss in single precision: bfloat16's eight bits would round a box's edge to a tenth of its stride."""

    def __init__(self, loss: Any, device: str = "cpu") -> None:
        self._loss = loss
        self._device = device

    def __call__(self, predictions: dict[str, Any], batch: dict[str, Any]) -> Any:
        precise = {name: _as_float(value) for name, value in predictions.items()}
        with torch.autocast(self._device, enabled=False):
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
    """A generator seeded from `random`, which the loader seeds in each of its processes."""
    return np.random.default_rng(random.getrandbits(64))


def _kept(piece: Any) -> Any:
    return _scaled(piece, min(_CROP_PX, max(piece.shape[:2])))


def _scaled(piece: Any, longer_px: int) -> Any:
    """A copy scaled to this longer side in pixels."""
    scale = longer_px / max(piece.shape[:2])
    size = max(1, round(piece.shape[1] * scale)), max(1, round(piece.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(piece, size, interpolation=way))
