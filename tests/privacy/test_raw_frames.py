"""The table of docs/privacy.md of where an unredacted frame can lie, held against the code and the manifests."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from api.settings import Settings as ApiSettings
from functions import Frame, HazardSeen, MotionBurst, Place, new_id, utc_now
from functions.broker import connect
from functions.buffer import EventBuffer
from functions.event.facts import FACTS
from functions.permissions import OPERATOR, TOPOLOGY
from functions.settings import Settings
from functions.topology import DEAD, DELAYS_S, REGION_WAIT_S, queue, queues
from motion.settings import ClipSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/privacy.md").read_text()
TABLE = TEXT[TEXT.index("### Where unredacted frames are") : TEXT.index("### Redacted pictures")]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("| ")]


def row(begins: str) -> list[str]:
    (found,) = [cells for cells in ROWS if cells[0].startswith(begins)]
    return found


def test_only_bursts_and_hazards_carry_a_frame() -> None:
    carriers = {fact for fact in FACTS.values() if {"frame", "frames"} & set(fact.__struct_fields__)}
    assert carriers == {MotionBurst, HazardSeen}


def test_the_queues_of_both_are_told_with_their_time() -> None:
    assert f"{queue('motion').ttl_s:.0f} s at most" in row("queue `motion`")[2]
    assert f"({REGION_WAIT_S:.0f} s in a region's" in row("queue `motion`")[2]
    for type_ in HazardSeen.types():
        assert f"`{type_}`" in row("queues <!-- hazards -->")[0]
    assert f"{max(DELAYS_S)} at most" in row("queues `bongsu.delay")[2]
    assert "until an operator" in row(f"`{DEAD}`")[2]


def readers(name: str) -> set[str]:
    """The broker users that may read a queue, by the definitions that are shipped."""
    definitions = yaml.safe_load((ROOT / "k8s/overlays/local/secrets/definitions.json.example").read_text())
    return {p["user"] for p in definitions["permissions"] if re.search(p["read"], name)}


def test_who_may_read_a_queue_is_who_the_table_says() -> None:
    listed = {name: set(re.findall(r"`(\w+)`", row(begins)[3])) for name, begins in (
        ("motion", "queue `motion`"), ("fire", "queues <!-- hazards -->"), ("delay", "queues `bongsu.delay"),
        ("dead", f"`{DEAD}`"),
    )}  # fmt: skip
    assert readers("motion") == readers("motion.seoul") == listed["motion"]
    assert readers("fire.map") | readers("fire.caption") == listed["fire"]
    assert readers("bongsu.delay.5s") == listed["delay"] == {TOPOLOGY}
    assert readers(DEAD) == listed["dead"] == {OPERATOR, TOPOLOGY}


def test_every_folder_setting_that_may_hold_frames_is_told() -> None:
    source = "".join(
        path.read_text()
        for room in ("functions", "motion", "detect", "notify", "privacy")
        for path in (ROOT / room).rglob("*.py")
    )
    names = {f"BONGSU_{name.upper()}" for name in re.findall(r"^    (\w+_dir): str", source, re.MULTILINE)}
    assert names == {"BONGSU_BUFFER_DIR", "BONGSU_CLIP_DIR"}
    assert row("`BONGSU_CLIP_DIR`")[2].startswith("`BONGSU_CLIP_DIR_HOURS`, a day")
    assert ClipSettings().clip_dir_hours == 24
    assert row("`BONGSU_BUFFER_DIR`")[2].startswith("`BONGSU_BUFFER_AGE_S`, an hour")
    assert Settings().buffer_age_s == 3600
    assert row("`BONGSU_ORIGINALS_URL`")
    assert row("`BONGSU_CLIP_URL`")[2].startswith("`BONGSU_CLIP_KEEP_DAYS`, 7 days")
    assert ApiSettings().clip_keep_days == 7


def is_for_its_owner_alone(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def hazard() -> HazardSeen:
    frame = Frame(b"\xff\xd8 a face", utc_now())
    place = Place(37.5, 127.0, "gate")
    return HazardSeen(id=new_id(), hazard="fire", camera="gate-1", place=place, captured_at=utc_now(), frame=frame)


@pytest.fixture
def open_umask() -> object:
    """As careless a process as there is."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_buffer_folder_is_private_even_if_it_was_open(tmp_path: Path) -> None:
    for folder in (tmp_path / "new", tmp_path / "open"):
        (tmp_path / "open").mkdir(exist_ok=True)
        assert EventBuffer(folder, max_bytes=1_000_000, max_age_s=60).put(hazard())
        (kept,) = folder.glob("*.event")
        assert is_for_its_owner_alone(kept)
    assert is_for_its_owner_alone(tmp_path / "new")


@pytest.mark.usefixtures("open_umask")
async def test_the_file_of_one_machines_broker_is_for_its_owner_alone(tmp_path: Path) -> None:
    broker = await connect(f"sqlite:///{tmp_path}/state/broker.db")
    await broker.declare(queues(["fire.map"]))
    await broker.close()
    assert is_for_its_owner_alone(tmp_path / "state")
    assert all(is_for_its_owner_alone(path) for path in (tmp_path / "state").iterdir())


def test_every_promise_of_security_names_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    promises = text[text.index("## What it protects") : text.index("## What it does not")].split("\n- ")[1:]
    assert promises
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)`", promise)
        assert named, promise
        assert all((ROOT / path).is_file() for path in named), promise
