"""Public clips: who may read an incident plays them, in ranges too, and a false alarm withdraws them at once."""

from __future__ import annotations

from datetime import timedelta

import httpx
import msgspec
import pytest

from api.retention import prune_public_clips
from api.settings import Settings
from functions.clip import ClipName
from functions.event import utc_now
from privacy.video import RedactedVideo, read_back_video

MP4 = bytes(range(200))


@pytest.fixture
def settings(database_url, tmp_path):
    return Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "snapshots"), public_clip_url=str(tmp_path / "public")
    )


async def stored(site, make_event, camera="gate-1") -> tuple[int, ClipName]:
    seen_at = utc_now().replace(microsecond=0)
    incident = await site.store.sightings.record(make_event(id_=camera, camera=camera, captured_at=seen_at))
    name = ClipName(camera, seen_at - timedelta(seconds=5), seen_at)
    await site.public_clips.put(name, read_back_video(MP4))
    return incident, name


async def test_everybody_plays_the_clip_of_a_public_incident(serve, settings, make_event):
    async with serve(settings) as (url, site), httpx.AsyncClient(base_url=url) as reader:
        incident, _ = await stored(site, make_event)
        other, _ = await stored(site, make_event, "gate-2")
        (listed,) = (await reader.get(f"/api/incidents/{incident}/videos")).json()["clips"]
        whole = await reader.get(listed["url"])
        assert (whole.status_code, whole.content, listed["bytes"]) == (200, MP4, 200)
        assert (whole.headers["content-type"], whole.headers["cache-control"]) == ("video/mp4", "no-store")
        for wanted, status, content in (
            ("bytes=10-19", 206, MP4[10:20]), ("bytes=190-", 206, MP4[190:]), ("bytes=-5", 206, MP4[195:]),
            ("bytes=150-999", 206, MP4[150:]), ("bytes=200-", 416, b""), ("bytes=-", 200, MP4), ("lines=1", 200, MP4),
        ):  # fmt: skip
            answer = await reader.get(listed["url"], headers={"Range": wanted})
            assert (answer.status_code, answer.content) == (status, content), wanted
        assert (await reader.get(listed["url"].replace(f"/{incident}/", f"/{other}/"))).status_code == 200
        assert (await reader.get(f"/api/incidents/{incident}/videos/..%2Fkeys.mp4")).status_code == 404
        assert (await reader.get("/api/incidents/77/videos")).status_code == 404
        assert (await reader.get("/api/session")).json()["videos"]


async def test_false_alarm_withdraws_its_clip_at_once(serve, settings, make_event):
    async with serve(settings) as (url, site), httpx.AsyncClient(base_url=url) as reader:
        incident, _ = await stored(site, make_event)
        (listed,) = (await reader.get(f"/api/incidents/{incident}/videos")).json()["clips"]
        await site.store.reviews.give(incident, "false_alarm", by="kim")
        assert (await reader.get(f"/api/incidents/{incident}/videos")).json() == {"clips": []}
        assert (await reader.get(listed["url"])).status_code == 404


async def test_without_a_store_there_are_none_and_old_ones_leave(serve, settings, make_event, tmp_path):
    async with serve(settings) as (_, site):
        _, name = await stored(site, make_event)
        few = msgspec.structs.replace(settings, public_clip_keep_gb=1e-9)
        assert (await prune_public_clips(site.public_clips, settings)).deleted == 0
        assert (await prune_public_clips(site.public_clips, few)).deleted == 1
        assert await site.public_clips.get(name) is None
        with pytest.raises(TypeError, match="RedactedVideo"):
            await site.public_clips.put(name, MP4)
        assert isinstance(read_back_video(MP4), RedactedVideo)
    nothing = msgspec.structs.replace(settings, public_clip_url="")
    async with serve(nothing) as (url, _), httpx.AsyncClient(base_url=url) as reader:
        assert (await reader.get("/api/incidents/1/videos")).json() == {"clips": []}
        assert "videos" not in (await reader.get("/api/session")).json()


def test_sealed_and_public_clips_need_places_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="BONGSU_CLIP_URL and BONGSU_PUBLIC_CLIP_URL must not contain each other"):
        Settings(clip_url=str(tmp_path), public_clip_url=str(tmp_path / "public"))
