"""Story 4: a canary that does worse than the version before goes back by itself, and says why."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detect.usage import Usage as DetectorUsage
from edge.canary import Usage, compare
from tests.edge.conftest import Fleet, deploy_here

MakeModel = Callable[..., Path]


def usage(bursts: int, alarms: int = 0, errors: int = 0) -> Usage:
    return Usage("sha256:1", bursts, alarms, errors)


@pytest.mark.parametrize(
    ("new", "before", "why"),
    [
        (usage(200, 60), usage(200, 4), "alarms in 60 of 200 bursts (30.0%); the version before had 4 in 200 (2.0%)"),
        (usage(50, 0, 50), usage(900, 9, 1), "errors in 50 of 50"),
        (usage(200, 6), usage(200, 4), None),  # chance
        (usage(2, 2), usage(900, 9), "alarms in 2 of 2"),
        (usage(1, 1), usage(3, 1), None),
        (usage(200, 200), None, None),
        (usage(200, 200), usage(0), None),  # nothing to compare with
        (usage(10, 99), usage(10, 99), None),
        (usage(0), usage(10), None),
    ],
)
def test_only_what_chance_does_not_explain_is_worse(new: Usage, before: Usage | None, why: str | None) -> None:
    found = compare(new, before)
    assert found is None if why is None else found is not None and why in found


@pytest.fixture
def desk(tmp_path: Path, make_model: MakeModel) -> Fleet:
    """This machine runs version 1, which had an alarm in 3 of 100 bursts."""
    fleet = Fleet(tmp_path / "fleet", tmp_path / "no-key")
    deploy_here(fleet, make_model)
    detector = DetectorUsage()
    detector.add(weights(fleet), bursts=100, alarms=3)
    detector.write()
    return fleet


def weights(fleet: Fleet) -> Path:
    return (fleet.folder / "here/models/hazard/current").resolve() / "weights.onnx"


def detect_with(fleet: Fleet, **counts: int) -> threading.Thread:
    """Count as the detector does, once version 2 is in use."""

    def work() -> None:
        before, detector = weights(fleet), DetectorUsage()
        while weights(fleet) == before:
            time.sleep(0.05)
        detector.add(weights(fleet), **counts)
        detector.write()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def version_in_use(fleet: Fleet) -> str:
    (node,) = json.loads(fleet.ok("nodes", "list", "--json"))
    return str(node["models"]["hazard"]["version"])


DEPLOY = ("models", "deploy", "hazard:2", "--nodes", "desk", "--canary", "1", "--bursts", "50")


def test_canary_with_more_alarms_goes_back_and_says_why(desk: Fleet) -> None:
    thread = detect_with(desk, bursts=20, alarms=15)
    said = desk.refused(*DEPLOY)
    thread.join()
    assert "alarms in 15 of 20 bursts (75.0%); the version before had 3 in 100 (3.0%)" in said
    assert "hazard:1 is in use again" in said and version_in_use(desk) == "1"
    last = json.loads((desk.folder / "audit.jsonl").read_text().splitlines()[-1])
    assert last["action"] == "model_rolled_back" and "15 of 20" in last["reason"]
    (_, newest) = sorted((desk.folder / "deployments").iterdir())
    status = json.loads(newest.read_text())["status"]
    assert (status["state"], status["nodes"][0]["state"]) == ("failed", "rolled back")
    assert "75.0%" in status["reason"]


def test_canary_that_does_as_well_stays(desk: Fleet) -> None:
    thread = detect_with(desk, bursts=60, alarms=2)
    assert "hazard:2 in use" in desk.ok(*DEPLOY)
    thread.join()
    assert version_in_use(desk) == "2"


def test_too_few_bursts_leave_the_canary_and_are_said(desk: Fleet) -> None:
    said = desk.refused(*DEPLOY, "--within", "0.01")
    assert "only 0 of 50 bursts" in said and "goes on watching" in said and version_in_use(desk) == "2"
    detector = DetectorUsage()
    detector.add(weights(desk), bursts=50)
    detector.write()
    desk.ok(*DEPLOY)
    assert "--canary 1" in desk.refused("models", "deploy", "hazard:2", "--nodes", "desk", "--bursts", "5")


def test_what_a_version_did_before_a_rollback_is_forgotten(desk: Fleet) -> None:
    used = desk.folder / "here/models/hazard/.usage"
    version_1 = weights(desk).parent.name
    assert (used / version_1).is_dir()
    desk.ok("models", "deploy", "hazard:2", "--nodes", "desk")
    assert (used / version_1).is_dir()  # what the new one is compared with
    desk.ok("models", "deploy", "hazard:1", "--nodes", "desk")
    assert not (used / version_1).exists()


def test_shipped_weights_are_not_counted(tmp_path: Path) -> None:
    detector = DetectorUsage()
    detector.add(tmp_path / "hazard.onnx", bursts=4, errors=4)
    detector.write()
    assert list(tmp_path.iterdir()) == []
