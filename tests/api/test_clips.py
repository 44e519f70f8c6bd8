"""Edge nodes send the sealed clips of incidents, operators fetch them, and old ones are deleted."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api.retention import prune_clips
from api.settings import Settings
from functions.clip import ClipName, seal_clip, unseal_clip
from functions.event import utc_now
from motion.clip import Clip
from motion.clip_folder import ClipFolder
from motion.clip_sender import ClipSender, SendError
from store.clips import ClipError, Clips
from web.keys import new_key

KEY = X25519PrivateKey.generate()
PUBLIC_KEY, PRIVATE_KEY = KEY.public_key().public_bytes_raw(), KEY.private_bytes_raw()
DAY = 86_400


def clip_at(start, seconds=10, camera="gate-1"):
    start = start.replace(microsecond=0)
    return ClipName(camera, start, start + timedelta(seconds=seconds))


@pytest.fixture
def settings(database_url, keys, tmp_path):
    text, key = new_key("node-1", "node")
    keys["node"] = text
    with (tmp_path / "keys").open("a") as file:
        file.write(f"{key.name} {key.role} {key.digest}\n")
    return Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "snapshots"), api_keys=str(tmp_path / "keys"),
        clip_url=str(tmp_path / "clips"),
    )  # fmt: skip


def client(url, keys, role):
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {keys[role]}"} if role else {})


async def test_clip_travels_from_a_node_to_the_operator(serve, settings, keys, make_event, tmp_path):
    seen_at = utc_now() - timedelta(minutes=2)
    folder = ClipFolder(tmp_path / "node", [PUBLIC_KEY], camera_bytes=10**9, max_age=timedelta(days=1))
    wanted = clip_at(seen_at - timedelta(seconds=5))
    before, other = clip_at(seen_at - timedelta(seconds=60)), clip_at(seen_at, camera="gate-2")
    for name in (wanted, before, other):
        folder.put(Clip(name, b"an mp4"))
    async with serve(settings) as (url, site):
        sender = ClipSender(folder, url, keys["node"], timedelta(days=1))
        assert await asyncio.to_thread(sender.send_wanted) == 0
        number = await site.store.sightings.record(make_event(captured_at=seen_at))
        assert await asyncio.to_thread(sender.send_wanted) == 1
        assert await asyncio.to_thread(sender.send_wanted) == 0
        async with client(url, keys, "operator") as operator:
            listed = (await operator.get(f"/api/incidents/{number}/clips")).json()["clips"]
            assert [one["url"] for one in listed] == [f"/api/incidents/{number}/clips/{wanted.file}"]
            answer = await operator.get(listed[0]["url"])
    assert answer.headers["cache-control"] == "no-store" and len(answer.content) == listed[0]["bytes"]
    assert unseal_clip(answer.content, PRIVATE_KEY) == (wanted, b"an mp4")
    assert b"an mp4" not in answer.content


async def test_only_operators_fetch_and_only_nodes_send(serve, settings, keys, make_event):
    async with serve(settings) as (url, site):
        seen_at = utc_now()
        number = await site.store.sightings.record(make_event(captured_at=seen_at))
        name = clip_at(seen_at - timedelta(seconds=5))
        sealed = seal_clip(name, b"an mp4", PUBLIC_KEY)
        for role, status in (("operator", 200), ("viewer", 403), ("node", 403), (None, 401)):
            async with client(url, keys, role) as caller:
                assert (await caller.get(f"/api/incidents/{number}/clips")).status_code == status
                found = await caller.get(f"/api/incidents/{number}/clips/{name.file}")
                assert found.status_code == (404 if role == "operator" else status)
        for role, status in (("operator", 403), ("viewer", 403), (None, 401), ("node", 204)):
            async with client(url, keys, role) as caller:
                assert (await caller.put(f"/api/clips/{name.path}", content=sealed)).status_code == status
                assert (await caller.get("/api/clips/wanted")).status_code == (200 if role == "node" else status)


async def test_what_is_not_a_wanted_sealed_clip_is_refused(serve, settings, keys, make_event, tmp_path):
    async with serve(settings) as (url, site), client(url, keys, "node") as node:
        seen_at = utc_now()
        await site.store.sightings.record(make_event(captured_at=seen_at))
        name = clip_at(seen_at - timedelta(seconds=5))
        sealed = seal_clip(name, b"an mp4", PUBLIC_KEY)
        late, elsewhere = clip_at(seen_at + timedelta(seconds=5)), clip_at(seen_at, camera="gate-2")
        for path, content, status in (
            (name.path, b"\0\0\0\x20ftypisom", 422),
            (name.path, seal_clip(late, b"an mp4", PUBLIC_KEY), 422),
            ("gate-1/clip.mp4", sealed, 422),
            (late.path, seal_clip(late, b"an mp4", PUBLIC_KEY), 404),
            (elsewhere.path, seal_clip(elsewhere, b"an mp4", PUBLIC_KEY), 404),
        ):
            answer = await node.put(f"/api/clips/{path}", content=content)
            assert answer.status_code == status, answer.text
        too_large = await node.put(f"/api/clips/{name.path}", content=sealed + bytes(64_000_000))
        assert too_large.status_code == 413 and "BONGSU_CLIP_MB" in too_large.text
    assert [path for path in (tmp_path / "clips").rglob("*") if path.is_file()] == []


async def test_only_the_start_of_a_real_incident_is_wanted(serve, settings, keys, make_event):
    async with serve(settings) as (url, site), client(url, keys, "node") as node:
        seen_at = utc_now() - timedelta(minutes=30)
        for number in range(11):
            event = make_event(id_=f"e{number}", captured_at=seen_at + timedelta(seconds=100 * number))
            incident = await site.store.sightings.record(event)
        (span,) = (await node.get("/api/clips/wanted")).json()["wanted"]
        start, end = ((seen_at + timedelta(seconds=s)).strftime("%H:%M:%S") for s in (-10, 120))
        assert span["camera"] == "gate-1" and start in span["since"] and end in span["until"]
        assert (await node.get("/api/clips/wanted", params={"since": utc_now().isoformat()})).json() == {"wanted": []}
        await site.store.reviews.give(incident, "false_alarm", by="kim")
        assert (await node.get("/api/clips/wanted")).json() == {"wanted": []}


async def test_api_without_a_clip_store_takes_none(serve, settings, keys, make_event, tmp_path):
    settings = msgspec.structs.replace(settings, clip_url="")
    folder = ClipFolder(tmp_path / "node", [PUBLIC_KEY], camera_bytes=10**9, max_age=timedelta(days=1))
    folder.put(Clip(clip_at(utc_now()), b"an mp4"))
    async with serve(settings) as (url, site), client(url, keys, "operator") as operator:
        number = await site.store.sightings.record(make_event())
        assert (await operator.get(f"/api/incidents/{number}/clips")).json() == {"clips": []}
        with pytest.raises(SendError, match="BONGSU_CLIP_URL is not set there"):
            await asyncio.to_thread(ClipSender(folder, url, keys["node"], timedelta(days=1)).send_wanted)


async def test_clips_are_kept_by_days_and_bytes(settings, tmp_path):
    clips = Clips.open(settings.clip_url)
    stored = [clip_at(utc_now() - timedelta(days=days)) for days in (0, 1, 2, 3, 9)]
    for days, name in zip((0, 1, 2, 3, 9), stored, strict=True):
        await clips.put(name, bytes(400_000))
        os.utime(tmp_path / "clips" / name.path, (time.time() - days * DAY,) * 2)
    (tmp_path / "clips/notes.txt").write_text("ours")
    assert ((await prune_clips(clips, settings)).deleted) == 1
    done = await clips.prune(max_age=timedelta(days=7), max_bytes=1_000_000)
    assert (done.deleted, done.freed_bytes, done.kept, done.kept_bytes) == (2, 800_000, 2, 800_000)
    assert [await clips.get(name) is not None for name in stored] == [True, True, False, False, False]
    assert (tmp_path / "clips/notes.txt").exists()
    assert (tmp_path / "clips").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"clip_keep_days": 0.0}, "BONGSU_CLIP_KEEP_DAYS must be above 0"),
        ({"clip_keep_gb": -1.0}, "BONGSU_CLIP_KEEP_GB must be above 0"),
        ({"clip_url": "state/snapshots/clips"}, "must not contain each other"),
    ],
)
def test_clips_need_limits_and_a_place_of_their_own(given, reason):
    with pytest.raises(ValueError, match=reason):
        Settings(**given)


def test_place_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(ClipError, match=r"BONGSU_CLIP_URL .*clips"):
        Clips.open(str(tmp_path / "clips"))
