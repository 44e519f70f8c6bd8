"""Story 4: a canary whose alarms operators call false more often than before goes back by itself, and says why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import create_async_engine

from edge.verdicts import Canary, Verdict, compare, split
from store import Store, schema
from tests.edge.conftest import Fleet, deploy_here

NOW = datetime.now(UTC)


def verdicts(false: int, of: int, **fields: object) -> list[Verdict]:
    kinds: list[Literal["acknowledged", "false_alarm"]] = ["false_alarm"] * false + ["acknowledged"] * (of - false)  # type: ignore[assignment]
    given = {"camera": "yard", "hazard": "fire", "first_seen": NOW, **fields}
    return [Verdict(**given, verdict=kind) for kind in kinds]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("new", "old", "why"),
    [
        (
            (9, 10),
            (4, 40),
            "operators called 9 of 10 alarms false (90.0%); of the version before it was 4 of 40",
        ),
        ((5, 5), (4, 40), "5 of 5"),
        ((4, 10), (12, 40), None),  # chance
        ((1, 1), (1, 2), None),
        ((10, 10), (0, 0), None),  # nothing to compare with
        ((0, 10), (20, 40), None),
    ],
)
def test_only_plainly_more_false_alarms_are_worse(new: tuple[int, int], old: tuple[int, int], why: str | None) -> None:
    found = compare(verdicts(*new), verdicts(*old))
    assert found is None if why is None else found is not None and why in found


def test_only_alarms_of_its_cameras_hazards_and_time_count() -> None:
    canary = Canary("gate", frozenset({"yard"}), frozenset({"fire"}), NOW, NOW - timedelta(days=9))
    new, old = split(
        canary,
        [
            *verdicts(1, 1, first_seen=NOW),
            *verdicts(1, 1, first_seen=NOW - timedelta(days=1)),
            *verdicts(1, 1, first_seen=NOW - timedelta(days=10)),  # of a version before the one before
            *verdicts(1, 1, camera="hall"),
            *verdicts(1, 1, hazard="gun"),
        ],
    )
    assert (len(new), len(old)) == (1, 1)


async def judge(url: str, found: list[Verdict]) -> None:
    """Put reviewed incidents into a database."""
    await (await Store.open(url)).close()
    engine = create_async_engine(url)
    rows = [
        {
            "camera": one.camera, "hazard": one.hazard, "lat": 1.0, "lon": 1.0, "place": "", "region": "",
            "first_seen": one.first_seen, "last_seen": one.first_seen, "confidence": 0.5, "sightings": 1, "pin_s": 1.0,
            "revision": 1, "verdict": one.verdict, "reviewed_by": "kim", "reviewed_at": NOW,
        }
        for one in found
    ]  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(schema.incidents), rows)
    await engine.dispose()


@pytest.fixture
def desk(tmp_path: Path, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """This machine has one camera; of the alarms of version 1, two of twenty were false."""
    (tmp_path / "cameras.yaml").write_text("cameras: [{id: yard, node: desk}]")
    url = f"sqlite+aiosqlite:///{tmp_path}/bongsu.db"
    # The commands run in this process, and the database is read by another, which inherits them.
    monkeypatch.setenv("BONGSU_CAMERAS", str(tmp_path / "cameras.yaml"))
    monkeypatch.setenv("BONGSU_DATABASE_URL", url)
    fleet = Fleet(tmp_path / "fleet", tmp_path / "no-key")
    deploy_here(fleet, make_model)
    asyncio.run(judge(url, verdicts(2, 20, first_seen=datetime.now(UTC))))
    return fleet


def test_canary_that_operators_call_false_goes_back(desk: Fleet, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/bongsu.db"
    command = ("models", "deploy", "hazard:2", "--nodes", "desk", "--canary", "1", "--verdicts", "10")
    assert "operators judged 0 of 10 alarms" in desk.refused(*command, "--within", "0.01")
    asyncio.run(judge(url, verdicts(6, 6, first_seen=datetime.now(UTC))))
    said = desk.refused(*command, "--within", "0.5")  # it goes on: what was judged since it came counts
    assert "operators called 6 of 6 alarms false (100.0%); of the version before it was 2 of 20 (10.0%)" in said
    assert "hazard:1 is in use again" in said
    (node,) = json.loads(desk.ok("nodes", "list", "--json"))
    assert node["models"]["hazard"]["version"] == "1"


def test_verdicts_need_a_canary_and_a_camera(desk: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("models", "deploy", "hazard:2", "--nodes", "desk", "--verdicts", "5")
    assert "--canary 1" in desk.refused(*command)
    monkeypatch.setenv("BONGSU_CAMERAS", "")
    assert "has no camera in BONGSU_CAMERAS" in desk.refused(*command, "--canary", "1")
