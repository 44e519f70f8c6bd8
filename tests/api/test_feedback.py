"""Reviews become pictures to train on, each with what was seen in it."""

from __future__ import annotations

import json
from datetime import timedelta

import cv2
import numpy as np
import pytest
import yaml

from api import cli
from api.feedback import Exported, ExportError, export
from functions import HAZARDS, Box, Detection
from functions.cli import run_command
from functions.event import utc_now
from notify.map import Map, put_on_map


def shade(level: int) -> bytes:
    """A picture that differs from those of other levels."""
    written, jpeg = cv2.imencode(".jpg", np.full((90, 160, 3), level, np.uint8))
    assert written
    return jpeg.tobytes()


@pytest.fixture
async def reviewed(store, snapshots, make_event):
    """Three incidents: a fire that was one, a lamp, and a frame that holds a real fire and no gun."""
    where = Map(store, snapshots)
    boxes = (
        Detection("fire", 0.8, Box(0.25, 0.5, 0.75, 1.0)),
        Detection("person", 0.9, Box(0.0, 0.0, 0.1, 0.2)),
        Detection("fire", 0.5, Box(0.0, 0.0, 0.5, 0.25)),
        Detection("gun", 0.6, Box(0.1, 0.1, 0.2, 0.2)),
    )
    fields = {"hazard": "fire", "detections": boxes}
    await put_on_map(make_event("captioned", id_="a", snapshot=shade(10), **fields), where)
    better = (Detection("fire", 0.9, Box(0.2, 0.2, 0.4, 0.4)),)
    await put_on_map(
        make_event("captioned", id_="b", seconds=9, snapshot=shade(20), hazard="fire", detections=better), where
    )
    # It shows nothing better, so its picture is not kept.
    await put_on_map(make_event("captioned", id_="c", seconds=12, snapshot=shade(30), **fields), where)
    await put_on_map(make_event("captioned", id_="d", camera="gate-2", snapshot=shade(40), hazard="knife"), where)
    both = (Detection("gun", 0.6, Box(0.1, 0.1, 0.2, 0.2)), Detection("fire", 0.8, Box(0.5, 0.5, 1.0, 1.0)))
    await put_on_map(
        make_event("captioned", id_="e", camera="gate-3", hazard="gun", detections=both, snapshot=shade(50)), where
    )
    await put_on_map(
        make_event("captioned", id_="e", camera="gate-3", hazard="fire", detections=both[::-1], snapshot=shade(50)),
        where,
    )
    for number, verdict in enumerate(("acknowledged", "false_alarm", "false_alarm", "acknowledged"), 1):
        await store.reviews.give(number, verdict, by="kim", note='a "lamp"\n')


async def test_export_is_a_folder_to_train_on(store, snapshots, reviewed, tmp_path):
    done = await export(store, snapshots, tmp_path / "out")
    assert done == Exported(positives=3, negatives=1, gone=0, unclear=1)
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert data["names"] == dict(enumerate(HAZARDS)) and data["train"] == "images"
    entries = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert [(one["incident"], one["verdict"]) for one in entries] == [
        (1, "acknowledged"), (1, "acknowledged"), (2, "false_alarm"), (4, "acknowledged"),
    ]  # fmt: skip
    labels = []
    for entry in entries:
        assert (entry["picture"], entry["by"], entry["note"]) == ("mosaicked", "kim", 'a "lamp"\n')
        image = tmp_path / "out" / entry["image"]
        assert cv2.imread(str(image)).shape == (90, 160, 3)
        labels.append((tmp_path / "out/labels" / f"{image.stem}.txt").read_text().splitlines())
    # People are not a hazard, and nobody confirmed that the gun is one.
    assert labels[0] == ["1 0.500000 0.750000 0.500000 0.500000", "1 0.250000 0.125000 0.500000 0.250000"]
    assert labels[1] == ["1 0.300000 0.300000 0.200000 0.200000"]
    assert labels[2] == []
    assert labels[3] == ["1 0.750000 0.750000 0.500000 0.500000"]
    assert len(list((tmp_path / "out/images").iterdir())) == len(list((tmp_path / "out/labels").iterdir())) == 4


async def test_export_since_the_last_one_holds_what_is_new(store, snapshots, reviewed, tmp_path):
    since = utc_now()
    await store.reviews.give(2, "acknowledged", by="lee")
    assert await export(store, snapshots, tmp_path / "out", since) == Exported(positives=1)
    assert await export(store, snapshots, tmp_path / "none", since + timedelta(hours=1)) == Exported()
    with pytest.raises(ExportError, match="not empty"):
        await export(store, snapshots, tmp_path / "out")
    (tmp_path / "file").mkdir()
    (tmp_path / "file/own.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        await export(store, snapshots, tmp_path / "file")


async def test_picture_that_is_gone_is_counted(store, snapshots, reviewed, tmp_path):
    await snapshots.prune(max_age=None, max_bytes=0)
    assert await export(store, snapshots, tmp_path / "out") == Exported(gone=4, unclear=1)


def test_command_says_what_it_did_or_why_not(environment, tmp_path, capsys):
    assert run_command(cli.feedback, ["export", str(tmp_path / "out")]) == 0
    assert "wrote 0 positives and 0 negatives" in capsys.readouterr().out
    assert run_command(cli.feedback, ["export", str(tmp_path / "out")]) == 1
    assert "not empty" in capsys.readouterr().err
    assert run_command(cli.feedback, ["export", str(tmp_path / "new"), "--since", "yesterday"]) == 1
    assert "--since must be an ISO 8601 time" in capsys.readouterr().err
