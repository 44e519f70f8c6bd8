"""Pictures are kept as long and as many as the settings say, and no other file is touched."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import msgspec
import pytest

from notify import cli
from notify import settings as environment
from notify.map import retention
from notify.map.snapshots import Snapshots
from notify.redact import read_back

DAY = 86_400


@pytest.fixture
async def kept(snapshots, street, tmp_path):
    """Pictures of 0, 1, 2, 3 and 40 days ago; their keys."""
    keys = []
    for days in (0, 1, 2, 3, 40):
        # What follows the end of a JPEG is no part of the picture, but makes it another file.
        key = await snapshots.put(read_back(street + bytes([days])))
        at = time.time() - days * DAY
        os.utime(tmp_path / "snapshots" / key, (at, at))
        keys.append(key)
    return keys


async def is_there(snapshots, keys):
    return [await snapshots.get(key) is not None for key in keys]


async def test_old_pictures_go(snapshots, kept):
    done = await snapshots.prune(max_age=timedelta(days=30), max_bytes=None)
    assert (done.deleted, done.kept) == (1, 4)
    assert await is_there(snapshots, kept) == [True] * 4 + [False]


async def test_oldest_pictures_make_room(snapshots, kept, street):
    size = len(street) + 1
    done = await snapshots.prune(max_age=None, max_bytes=2 * size + 10)
    assert (done.deleted, done.freed_bytes, done.kept_bytes) == (3, 3 * size, 2 * size)
    assert await is_there(snapshots, kept) == [True, True, False, False, False]


async def test_nothing_goes_without_a_limit_or_in_a_rehearsal(snapshots, kept):
    assert (await snapshots.prune(max_age=None, max_bytes=None)).deleted == 0
    assert (await snapshots.prune(max_age=timedelta(0), max_bytes=0, is_rehearsal=True)).deleted == 5
    assert all(await is_there(snapshots, kept))


async def test_other_files_are_left_alone(snapshots, kept, tmp_path):
    other = tmp_path / "snapshots" / "README.md"
    other.write_text("mine")
    assert (await snapshots.prune(max_age=timedelta(0), max_bytes=0)).deleted == 5
    assert other.read_text() == "mine"


async def test_picture_that_another_process_has_pruned_is_no_failure(snapshots, kept):
    await asyncio.gather(*(snapshots.prune(max_age=timedelta(0), max_bytes=None) for _ in range(4)))
    assert not any(await is_there(snapshots, kept))


async def test_api_prunes_by_itself(snapshots, kept, monkeypatch):
    monkeypatch.setattr(retention, "_FIRST_AFTER_S", 0.01)
    async with retention.pruning(snapshots, environment.Settings()), asyncio.timeout(10):
        while await snapshots.get(kept[-1]) is not None:
            await asyncio.sleep(0.02)
    assert await is_there(snapshots, kept[:-1]) == [True] * 4


@pytest.mark.usefixtures("environment")
async def test_command_prunes_and_says_how_much(snapshots, kept, capsys):
    def run(*arguments):
        return cli.snapshots(["prune", *arguments])

    assert await asyncio.to_thread(run, "--rehearse") == 0
    assert capsys.readouterr().out.startswith("would delete 1 pictures")
    assert await asyncio.to_thread(run, "--days", "2.5", "--gb", "0") == 0
    assert capsys.readouterr().out.startswith("deleted 2 pictures")
    assert await asyncio.to_thread(run, "--days", "-1") == 1
    assert "BONGSU_SNAPSHOT_KEEP_DAYS must be 0 or more" in capsys.readouterr().err
    assert await is_there(snapshots, kept) == [True, True, True, False, False]


async def test_pictures_lie_in_memory_or_a_bucket_by_their_address(street):
    # `memory://` is opened by the same way as `s3://`.
    pictures = Snapshots.open("memory:///")
    key = await pictures.put(read_back(street))
    assert (await pictures.get(key)).jpeg == street
    assert (await pictures.prune(max_age=timedelta(0), max_bytes=None)).deleted == 1
    assert await pictures.get(key) is None


def test_wrong_retention_is_refused():
    with pytest.raises(ValueError, match="BONGSU_SNAPSHOT_KEEP_GB"):
        msgspec.convert({"BONGSU_SNAPSHOT_KEEP_GB": "-3"}, environment.Settings, strict=False)
