"""Story 6: reviewed alerts become a better version on the node, or the reason why not; with real networks."""

from __future__ import annotations

import json
import shlex
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest

from edge.learn.corpus import read_test, split_groups
from edge.learn.evaluation import Scores, judge, read_truths
from models.registry import WEIGHTS
from tests.edge.conftest import Fleet
from tests.edge.test_run_on_nodes import picture

SHIPPED = WEIGHTS / "hazard4_320.onnx"
FIRE, GUN = 1, 2


def biased(path: Path, bias: float, classes: tuple[int, ...] = (0, 1, 2, 3)) -> Path:
    """The shipped network with other biases of its classes: 0 sees them everywhere, -30 nowhere."""
    content = SHIPPED.read_bytes()
    for level in range(3):
        name = f"_network.model.22.cv3.{level}.2.bias".encode()
        at = content.index(name + b"\x4a\x10") + len(name) + 2
        values = list(struct.unpack("<4f", content[at : at + 16]))
        for number in classes:
            values[number] = bias
        content = content[:at] + struct.pack("<4f", *values) + content[at + 16 :]
    path.write_bytes(content)
    return path


@pytest.fixture
def feedback(tmp_path: Path) -> Path:
    """An export as `bongsu feedback export` writes it: a fire, and a street that was taken for one."""
    folder = tmp_path / "feedback"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    lines = []
    for number in range(10):
        clip, verdict = (("fire", "acknowledged"), ("street", "false_alarm"))[number % 2]
        made = picture(tmp_path / "made", clip, 9 + number / 25)
        name = f"incident-{number}-{clip}"
        made.rename(folder / f"images/{name}.jpg")
        (folder / f"labels/{name}.txt").write_text("1 0.672 0.582 0.29 0.643\n" if clip == "fire" else "")
        entry = {
            "image": f"images/{name}.jpg",
            "incident": number,
            "camera": clip,
            "hazard": "fire",
            "verdict": verdict,
        }
        lines.append(json.dumps({**entry, "verdict": verdict, "event": "e", "by": "kim", "note": ""}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def desk(tmp_path: Path) -> Fleet:
    """A fleet whose one node, this machine, runs a network that sees guns everywhere."""
    fleet = Fleet(tmp_path / "fleet", tmp_path / "no-key")
    model = tmp_path / "model"
    model.mkdir()
    biased(model / "hazard.onnx", 0.0, (GUN,))
    labels = "[accident, fire, gun, knife]"
    (model / "model.yaml").write_text(f"name: hazard\nversion: '1'\nweights: hazard.onnx\nlabels: {labels}\n")
    fleet.ok("nodes", "add", "desk", "--here")
    fleet.ok("models", "keygen")
    fleet.ok("models", "push", str(model), "--sign")
    fleet.ok("models", "deploy", "hazard:1", "--nodes", "desk")
    return fleet


def trainer(tmp_path: Path, result: Path) -> str:
    """A command that reads a corpus and writes an ONNX file: it counts the pictures and copies a network."""
    code = (
        "import sys, pathlib, shutil; corpus, weights = sys.argv[1:];"
        "assert len(list(pathlib.Path(corpus).glob('train/images/*.jpg'))) > 2;"
        f"open({str(tmp_path / 'calls')!r}, 'a').write('x');"
        f"shutil.copy({str(result)!r}, weights)"
    )
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def in_use(fleet: Fleet) -> str:
    (node,) = json.loads(fleet.ok("nodes", "list", "--json"))
    return str(node["models"]["hazard"]["version"])


def test_better_network_is_trained_judged_and_deployed(desk: Fleet, feedback: Path, tmp_path: Path) -> None:
    learn = ("models", "learn", "hazard", "--from", str(feedback), "--version", "2", "--trainer")
    # A trainer that fails, then one that works: the run goes on from there, as it was begun.
    repaired = tmp_path / "network.onnx"
    failed = desk.refused(*learn, trainer(tmp_path, repaired))
    assert "the trainer failed" in failed and "network.onnx" in failed
    repaired.write_bytes(SHIPPED.read_bytes())
    done = desk.run("models", "learn", "hazard", "--from", "feedback")
    assert done.returncode == 0, done.stderr
    assert "hazard:2 is in use on desk" in done.stdout and "corpus: done before" in done.stderr
    assert (tmp_path / "calls").read_text() == "xx" and in_use(desk) == "2"
    (folder,) = (desk.folder / "learning").iterdir()
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["service"]["false_alarms"] > scores["candidate"]["false_alarms"] == 0
    report = (folder / "report.md").read_text()
    assert "against hazard:1" in report and "false alarms fewer" in report
    shown = json.loads(desk.ok("models", "show", "hazard:2"))
    assert shown["card"]["metrics"]["feedback_false_alarm_rate"] == 0 and shown["signatures"] == 1
    # The same pictures again: nothing is better than what is in service.
    again = desk.ok(*learn[:-2], "3", "--trainer", trainer(tmp_path, SHIPPED))
    assert "hazard:3 was refused: it is no better than the version in service" in again and in_use(desk) == "2"
    assert "hazard:3" not in desk.ok("models", "list")


def test_network_that_finds_less_is_refused(desk: Fleet, feedback: Path, tmp_path: Path) -> None:
    deaf = biased(tmp_path / "deaf.onnx", -30.0)
    said = desk.ok("models", "learn", "hazard", "--from", str(feedback), "--trainer", trainer(tmp_path, deaf))
    assert "was refused: it finds none of the" in said and in_use(desk) == "1"


def test_bad_input_is_one_line(desk: Fleet, feedback: Path, tmp_path: Path) -> None:
    learn = ("models", "learn", "hazard", "--new", "--from")
    assert "manifest.jsonl: No such file" in desk.refused(*learn, str(tmp_path / "nowhere"))
    said = desk.refused(*learn, str(feedback), "--trainer", "true")
    assert "wrote no hazard.onnx" in said
    (feedback / "manifest.jsonl").write_text((feedback / "manifest.jsonl").read_text().splitlines()[0] + "\n")
    assert "too few" in desk.refused(*learn, str(feedback))
    assert "no node" in desk.refused(*learn, str(feedback), "--nodes", "region=Seoul")


def test_scores_decide() -> None:
    assert "both are needed" in judge(Scores(0, 0, 9, 9), Scores(0, 0, 0, 9))[1]
    assert "finds none" in judge(Scores(0, 9, 9, 9), Scores(0, 9, 0, 9))[1]
    now = Scores(found=80, hazards=100, false_alarms=10, negatives=100)
    cases = {
        (85, 10): "5 more hazards", (79, 5): "5 false alarms fewer", (70, 0): "fewer hazards", (90, 11): "more false",
        (80, 10): "no better",
    }  # fmt: skip
    for (found, false_alarms), why in cases.items():
        is_better, said = judge(now, Scores(found, 100, false_alarms, 100))
        assert why in said and is_better == (found in (85, 79))


def test_groups_are_split_whole_and_the_same_way_each_time() -> None:
    sizes = Counter({f"incident {number}": 1 for number in range(20)})
    assert split_groups(sizes) == split_groups(Counter(dict(reversed(sizes.items()))))
    assert Counter(split_groups(sizes).values()) == {"test": 5, "val": 3, "train": 12}


def test_labels_of_unknown_classes_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 0.5 0.5 0.2 0.2\n4 0.5 0.5 0.2 0.2\n")
    assert [label for label, _ in read_truths(path, ["accident", "fire", "gun", "knife"])] == ["fire"]
    with pytest.raises(Exception, match="class x y width height"):
        path.write_text("-1 0 0 1 1")
        read_truths(path, ["fire"])
    with pytest.raises(Exception, match=r"manifest\.csv cannot be read"):
        read_test(tmp_path)
