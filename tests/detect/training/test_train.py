"""A whole run on a tiny corpus, on real torch: killed, gone on with, carded, exported, loaded by the detector."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from detect.training.card import write_card
from detect.training.corpus import CorpusError, read_corpus
from detect.training.people import read_people
from detect.training.recipe import Recipe, load_recipe
from detect.training.train import _link, train
from functions import HAZARDS
from models.network import HAZARD, Network, Spec
from models.registry import WEIGHTS

ROOT = Path(__file__).parents[3]


def test_a_recipe_may_leave_everything_out_but_not_misspell(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"size_px": 384}')
    assert load_recipe(tmp_path / "r.json") == Recipe(size_px=384)
    (tmp_path / "r.json").write_text('{"size": 384}')
    with pytest.raises(ValueError, match="size"):
        load_recipe(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"lr": 0}, r"\$\.lr"),
        ({"hours": 1}, "hours"),
        ({"epochs": 0}, r"\$\.epochs"),
        ({"pictures": 0}, r"\$\.pictures"),
        ({"batch": 0}, r"\$\.batch"),
        ({"size_px": 0}, r"\$\.size_px"),
        ({"size_px": 330}, r"\$\.size_px"),
        ({"mosaic": 60}, r"\$\.mosaic"),
        ({"look_every": 0}, r"\$\.look_every"),
        ({"without": ["fog"]}, "without must name some of low_light, .* got 'fog'"),
    ],
)
def test_a_number_of_a_recipe_that_cannot_be_followed_is_named(
    tmp_path: Path, recipe: dict[str, object], named: str
) -> None:
    (tmp_path / "r.json").write_bytes(msgspec.json.encode(recipe))
    with pytest.raises(ValueError, match=named):
        load_recipe(tmp_path / "r.json")


def test_a_card_says_how_from_what_and_how_well(tmp_path: Path) -> None:
    run = tmp_path / "city"
    (run / "weights").mkdir(parents=True)
    (run / "weights/best.pt").write_bytes(b"tensors")
    Recipe(size_px=384).save(run / "recipe.json")
    described = {"pictures": 3, "sha256": "ab" * 32, "by_source": {"gate, fire": 3}}
    made_from = {"weights": {"name": "start.pt", "sha256": "cd" * 32}, "train": described, "val": described}
    (run / "made_from.json").write_bytes(msgspec.json.encode(made_from))
    head = "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50(B),metrics/mAP50-95(B)"
    (run / "results.csv").write_text(f"{head}\n1,9,1.5,2.5,0,0\n2,19,1.4,2.4,0.61,0.33\n3,29,1.3,2.3,0.61,0.33\n")
    card = write_card(run).read_text()
    for expected in ("start.pt", "| size_px | 384 |", "| gate, fire | 3 |", "| 2 | 1.40 | 2.40 | 0.610 | 0.330 |"):
        assert expected in card
    assert card.count("0.610") == 1


@pytest.mark.torch
def test_what_a_network_said_in_bfloat16_is_not_judged_in_it() -> None:
    pytest.importorskip("ultralytics")
    from models import torch_setup

    torch_setup.prepare(1)
    import torch

    from detect.training.trainer import InSinglePrecision

    said = {"boxes": torch.rand(2, 64, 84), "feats": [torch.rand(2, 8, 8)]}
    rounded = {"boxes": said["boxes"].bfloat16(), "feats": [said["feats"][0].bfloat16()]}
    with torch.autocast("cpu"):
        boxes, feats = InSinglePrecision(lambda heard, _: (heard["boxes"] @ heard["boxes"].mT, heard["feats"]))(
            rounded, {}
        )
    assert boxes.dtype == feats[0].dtype == torch.float32
    assert torch.equal(boxes, rounded["boxes"].float() @ rounded["boxes"].float().mT)


@pytest.mark.torch
@pytest.mark.timeout(900)
def test_a_run_is_trained_goes_on_after_a_stop_and_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    corpus(tmp_path / "data")
    run = tmp_path / "runs" / "tiny"
    command = training(tmp_path, run, {"size_px": 64, "epochs": 3, "pictures": 16, "batch": 4, "armed": 0.5})
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (run / "weights/last.pt").is_file():
            time.sleep(0.01)
        process.kill()
    assert not (run / "card.md").exists()
    # What a full disk leaves behind.
    (run / "weights/best.part").write_bytes(b"half")
    with (run / "results.csv").open("a") as file:
        file.write("2,")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert [row["epoch"] for row in rows(run / "results.csv")] == ["1", "2", "3"]
    written = {p.name for p in run.iterdir()}
    assert written >= {"recipe.json", "made_from.json", "results.png", "confusion_matrix.png", "card.md", "pictures"}
    assert not list((tmp_path / "data").rglob("*.cache"))
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert finished.stderr.splitlines()[-1].endswith("is finished: choose another folder with --run")

    # As it is when a run is stopped in its last look at the validation split.
    for name in ("card.md", "confusion_matrix.png", "weights/SHA256SUMS"):
        (run / name).unlink()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert {p.name for p in run.iterdir()} == written

    target = tmp_path / "tiny_64.onnx"
    command = ["detect.training.export", "hazard", str(run / "weights/best.pt"), str(target)]
    ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    network = Network(Spec(target, HAZARD.labels, 0.0001), threads=1)
    assert network.size_px == 64
    assert network.detect([np.full((48, 64, 3), 90, np.uint8)])


@pytest.mark.torch
@pytest.mark.timeout(900)
def test_a_run_in_two_parts_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    import torch

    from detect.training.run_state import read_state

    corpus(tmp_path / "data")
    recipe: dict[str, object] = {"size_px": 64, "epochs": 3, "pictures": 24, "batch": 4, "lr": 0.001, "people": 0.5}
    # How many processes prepare the pictures, and in which order they end, must change nothing either.
    for name, workers, starts in (("whole", 0, [[]]), ("parts", 1, [["--hours", "0"], []])):
        for options in starts:
            command = [*training(tmp_path, tmp_path / name, recipe), "--workers", str(workers), *options]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
            assert ran.returncode == 0, ran.stderr
            if options:
                assert ran.stdout.splitlines()[-1].startswith("Stopped after epoch")
    whole, parts = (read_state(tmp_path / name / "weights/last.pt") for name in ("whole", "parts"))
    assert parts.epoch == whole.epoch == 2
    assert parts.updates == whole.updates
    for kind in ("model", "average"):
        before, after = getattr(whole, kind), getattr(parts, kind)
        assert [name for name in before if not torch.equal(before[name], after[name])] == []
    rates = [[row["lr/pg0"] for row in rows(tmp_path / name / "results.csv")] for name in ("whole", "parts")]
    assert rates[0] == rates[1]


@pytest.mark.torch
@pytest.mark.timeout(300)
def test_a_run_is_not_continued_with_another_recipe(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    corpus(tmp_path / "data")
    recipe: dict[str, object] = {"size_px": 64, "epochs": 3, "pictures": 8, "batch": 4}
    run = tmp_path / "run"
    begun = [*training(tmp_path, run, recipe), "--hours", "0"]
    assert subprocess.run(begun, cwd=ROOT, capture_output=True, timeout=250).returncode == 0
    was = (run / "recipe.json").read_bytes()
    again = subprocess.run(
        training(tmp_path, run, recipe | {"lr": 0.01}), cwd=ROOT, capture_output=True, text=True, timeout=250
    )
    assert again.returncode == 2
    assert "was begun with lr 0.0002 and not 0.01" in again.stderr.splitlines()[-1]
    assert (run / "recipe.json").read_bytes() == was


@pytest.mark.torch
def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    import pickle

    from detect.training.run_state import read_state
    from models.registry import ModelError

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    (tmp_path / "last.pt").write_bytes(pickle.dumps(Code()))
    with pytest.raises(ModelError, match="is not the state of a training run"):
        read_state(tmp_path / "last.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.torch
def test_a_half_written_checkpoint_takes_no_other_ones_place(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    from detect.training.run_state import write_whole

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    (tmp_path / "last.pt").write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "last.pt", fail)
    assert (tmp_path / "last.pt").read_bytes() == b"old"
    write_whole(tmp_path / "last.pt", lambda path: path.write_bytes(b"new") and None)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


@pytest.mark.torch
def test_a_weapon_of_unknown_kind_is_a_negative_for_neither_kind() -> None:
    pytest.importorskip("ultralytics")
    from models import torch_setup

    torch_setup.prepare(1)
    import torch

    from detect.training.loss import WeaponAssigner

    gun, knife = HAZARDS.index("gun"), HAZARDS.index("knife")
    scores = torch.full((1, 4, 4), 0.01)
    scores[0, :, knife] = 0.3
    scores[0, :, gun] = 0.2
    places = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).expand(1, 4, 4)
    assigner = WeaponAssigner(topk=1, num_classes=4, alpha=0.5, beta=6.0, stride=[8, 16, 32])
    asked = (torch.tensor([[[4.0]]]), torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]), torch.ones(1, 1, 1))
    _, _, targets, there, _ = assigner(scores, boxes, places, *asked)
    (place,) = there[0].nonzero().ravel().tolist()
    assert targets.shape == scores.shape
    assert targets[0, place, knife] > 0
    assert targets[0, place].sum() == targets[0, place, knife]
    ignored = assigner.counts == 0
    assert ignored.nonzero().tolist() == [[0, place, gun]]


def test_pictures_of_an_earlier_start_are_no_part_of_a_run(tmp_path: Path) -> None:
    corpus(tmp_path / "data")
    samples = [s for s in read_corpus(tmp_path / "data") if s.split == "val"]
    for chosen in (samples, samples[1:]):
        _link(chosen, tmp_path / "val")
    for kind in ("images", "labels"):
        assert {p.stem for p in (tmp_path / "val" / kind).iterdir()} == {s.path.stem for s in samples[1:]}


def test_run_inside_the_corpus_removes_no_picture(tmp_path: Path) -> None:
    corpus(tmp_path / "pictures")
    samples = [s for s in read_corpus(tmp_path / "pictures") if s.split == "val"]
    with pytest.raises(FileExistsError):
        _link(samples, tmp_path / "pictures" / "val")
    assert read_corpus(tmp_path / "pictures")


def test_a_corpus_that_cannot_be_trained_on_is_one_clear_error(tmp_path: Path) -> None:
    corpus(tmp_path / "data")
    corpus(tmp_path / "more")
    samples = read_corpus(tmp_path / "data")
    for given, expected in (
        ([s for s in samples if s.split == "train"], "no picture is in the split 'val'"),
        ([*samples, *read_corpus(tmp_path / "more")], "2 pictures in the split 'train' are named '0'"),
    ):
        with pytest.raises(CorpusError, match=expected):
            train(given, Recipe(), WEIGHTS / "hazard4_320.pt", tmp_path / "run")
    with pytest.raises(CorpusError, match=r"python -m detect\.training\.people"):
        train([*samples], Recipe(people=0.3), WEIGHTS / "hazard4_320.pt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_list_of_people_is_refused(tmp_path: Path) -> None:
    (tmp_path / "people.json").write_text('{"1.png": [[0.1, 0.1, 2, 0.9]]}')
    with pytest.raises(CorpusError, match=r"people\.json is not a list of people"):
        read_people(tmp_path / "people.json")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def training(folder: Path, run: Path, recipe: dict[str, object]) -> list[str]:
    (folder / "recipe.json").write_bytes(msgspec.json.encode(recipe))
    (folder / "hard.csv").write_text("picture,hazard,confidence\n1.png,fire,0.50\n")
    (folder / "people.json").write_text('{"1.png": [[0.1, 0.1, 0.9, 0.9]], "3.png": [[0, 0, 1, 1]]}')
    command = [sys.executable, "-m", "detect.training.train", str(folder / "data"), "--run", str(run), "--threads", "1"]
    return [
        *command,
        "--workers",
        "0",
        "--weights",
        str(WEIGHTS / "hazard4_320.pt"),
        "--recipe",
        str(folder / "recipe.json"),
        "--hard",
        str(folder / "hard.csv"),
        "--people",
        str(folder / "people.json"),
    ]


def corpus(folder: Path) -> None:
    """Bright squares as fire on dark ground, and dark ground as negatives."""
    import hashlib

    rows = ["file,source_repo,split,classes,scene,sha256"]
    rng = np.random.default_rng(0)
    for i in range(12):
        split, label = ("train", "val")[i % 3 == 2], ("fire", "negative")[i % 2]
        image = rng.integers(0, 60, (48, 64, 3), np.uint8)
        x, y = rng.integers(2, 30, 2).tolist()
        if label == "fire":
            image[y : y + 16, x : x + 24] = (0, 160, 255)
        path = folder / split / "images" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / split / "labels").mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
        truth = f"1 {(x + 12) / 64} {(y + 8) / 48} {24 / 64} {16 / 48}\n" if label == "fire" else ""
        (folder / split / "labels" / f"{i}.txt").write_text(truth)
        rows.append(
            f"{split}/images/{i}.png,squares,{split},{label},s{i},{hashlib.sha256(path.read_bytes()).hexdigest()}"
        )
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
