"""Pictures are kept as long and as many as the settings say, and no other file is touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from datetime import timedelta

import msgspec
import pytest
from aiohttp import web

from api import cli, retention
from api import settings as environment
from functions.cli import run_command
from privacy.originals import open_store
from privacy.originals import prune as prune_originals
from privacy.redact import read_back
from store.snapshots import Snapshots

DAY = 86_400


@pytest.fixture
async def kept(snapshots, street, tmp_path):
    """Pictures of 0, 1, 2, 3 and 40 days ago; their keys."""
    keys = []
    for days in (0, 1, 2, 3, 40):
        # Bytes after the end of a JPEG are not part of the picture, but make it another file.
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


async def test_huge_retention_keeps_the_other_limit(snapshots, kept, street):
    settings = environment.Settings(snapshot_keep_days=999_999, snapshot_keep_gb=3 * len(street) / 1e9)
    assert (await retention.prune(snapshots, settings)).deleted == 3
    assert await is_there(snapshots, kept) == [True, True, False, False, False]


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
        return run_command(cli.snapshots, ["prune", *arguments])

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


class Bucket:
    """As much of S3 as pictures need: put, get, list in pages, delete by the batch."""

    def __init__(self):
        self.files = {}
        self.deletions = []
        """How many files each request deleted."""

    async def answer(self, request):
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=key-id/"):
            return web.Response(status=403)
        path = request.path.removeprefix("/alerts").lstrip("/")
        if request.method == "PUT":
            self.files[path] = await request.read()
            return web.Response(headers={"ETag": '"1"'})
        if request.method == "POST" and "delete" in request.query:
            keys = re.findall("<Key>(.*?)</Key>", (await request.read()).decode())
            self.deletions.append(len(keys))
            for key in keys:
                self.files.pop(key, None)
            entries = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return web.Response(text=f"<DeleteResult>{entries}</DeleteResult>", content_type="application/xml")
        if "list-type" in request.query:
            return web.Response(text=self._list(request.query), content_type="application/xml")
        if path not in self.files:
            return web.Response(status=404)
        headers = {"ETag": '"1"', "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}
        return web.Response(body=self.files[path], headers=headers)

    def _list(self, query):
        after = query.get("continuation-token", "")
        keys = sorted(key for key in self.files if key.startswith(query.get("prefix", "")) and key > after)
        page, more = keys[:2], len(keys) > 2
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified><ETag>1</ETag>"
            f"<Size>{len(self.files[key])}</Size></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        entries = f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
        return f"<ListBucketResult><Name>alerts</Name>{entries}</ListBucketResult>"


@contextlib.asynccontextmanager
async def serving_s3(monkeypatch):
    """A bucket, which the environment leads to as `s3://alerts`."""
    bucket, app = Bucket(), web.Application()
    app.router.add_route("*", "/{path:.*}", bucket.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    given = {
        "ENDPOINT": f"http://127.0.0.1:{port}", "ALLOW_HTTP": "true", "REGION": "us-east-1",
        "ACCESS_KEY_ID": "key-id", "SECRET_ACCESS_KEY": "key-secret",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    try:
        yield bucket
    finally:
        await runner.cleanup()


async def test_pictures_lie_in_a_bucket_that_speaks_s3(street, monkeypatch):
    async with serving_s3(monkeypatch) as bucket:
        pictures = Snapshots.open("s3://alerts/public")
        keys = [await pictures.put(read_back(street + bytes([number]))) for number in range(5)]
        assert all(f"public/{key}" in bucket.files for key in keys)
        assert (await pictures.get(keys[0])).jpeg == street + b"\x00"
        bucket.files["public/index.html"] = b"mine"
        assert (await pictures.prune(max_age=timedelta(days=30), max_bytes=None)).deleted == 5
        assert list(bucket.files) == ["public/index.html"] and await pictures.get(keys[0]) is None


async def test_originals_in_a_bucket_are_deleted_many_at_once(monkeypatch):
    async with serving_s3(monkeypatch) as bucket:
        expired = {f"2026-03-01/event-{number}-fire.sealed": b"sealed" for number in range(7)}
        bucket.files |= expired | {"notes.txt": b"mine"}
        assert await prune_originals(open_store("s3://alerts"), keep_days=7) == 7
    # The captioner has 5 s for it, once an hour, in which one by one only so many would go.
    assert list(bucket.files) == ["notes.txt"] and bucket.deletions == [7]
