"""Public clips: made of sealed clips of public incidents, withdrawn with them, and withheld in doubt."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from functions.clip import ClipName, seal_clip
from functions.event import utc_now
from functions.sealing import PRIVATE, write_key
from functions.settings import Secret
from notify.clips import ClipMaker, PublicClipSettings
from privacy.video import Searcher
from store.clips import Clips
from store.public_clips import PublicClips
from tests.privacy.test_video import Faces, shown, video

OPERATOR, MAKER = (X25519PrivateKey.generate() for _ in range(2))
KEYS = [key.public_key().public_bytes_raw() for key in (OPERATOR, MAKER)]


@pytest.fixture
def maker(store, tmp_path):
    given = write_key(MAKER.private_bytes_raw(), PRIVATE)
    settings = PublicClipSettings(str(tmp_path / "sealed"), Secret(given), str(tmp_path / "public"))
    sealed, public = Clips.open(settings.clip_url), PublicClips.open(settings.public_clip_url)
    return ClipMaker(settings, store, sealed, public, Searcher(Faces(0), lambda image: (), ("person",)))


async def stored(maker, make_event, camera: str, mp4: bytes, *, keys=KEYS, days: float = 0.0) -> tuple[int, ClipName]:
    """An incident and its sealed clip."""
    seen_at = (utc_now() - timedelta(days=days)).replace(microsecond=0)
    incident = await maker.store.sightings.record(make_event(id_=f"at-{camera}", camera=camera, captured_at=seen_at))
    name = ClipName(camera, seen_at - timedelta(seconds=2), seen_at)
    await maker.sealed.put(name, seal_clip(name, mp4, *keys))
    return incident, name


async def test_clip_is_made_once_and_withdrawn_with_its_incident(maker, make_event, tmp_path):
    incident, name = await stored(maker, make_event, "gate-1", video(3))
    assert (await maker.look(), await maker.look()) == (1, 0)
    made = await maker.public.get(name)
    assert len(shown(made)) == 3
    assert (tmp_path / "public" / name.path).with_suffix(".mp4").is_file()
    await maker.store.reviews.give(incident, "false_alarm", by="kim")
    assert (await maker.look(), await maker.public.all()) == (0, [])
    # Taken back, it is made again.
    await maker.store.reviews.withdraw(incident)
    assert (await maker.look(), len(await maker.public.all())) == (1, 1)


async def test_what_cannot_be_opened_or_redacted_is_withheld(maker, make_event, tmp_path):
    await stored(maker, make_event, "gate-1", b"no video")
    await stored(maker, make_event, "gate-2", video(3), keys=KEYS[:1])
    _, name = await stored(maker, make_event, "gate-3", video(3))
    _, other = await stored(maker, make_event, "gate-4", b"")
    # A clip that was stored under the name of another camera.
    (tmp_path / "sealed" / other.path).write_bytes((tmp_path / "sealed" / name.path).read_bytes())
    assert [await maker.look() for _ in range(5)] == [4, 3, 2, 1, 0]
    assert [one.name for one in await maker.public.all()] == [name]
    assert {one.camera for one in maker.withheld} == {"gate-1", "gate-2", "gate-4"}


async def test_limits_and_hidden_incidents_make_nothing(maker, make_event):
    await stored(maker, make_event, "gate-1", video(3), days=9)
    await stored(maker, make_event, "gate-2", video(3))
    seen_at = utc_now() - timedelta(hours=1)
    name = ClipName("gate-9", seen_at - timedelta(seconds=2), seen_at)
    await maker.sealed.put(name, seal_clip(name, video(3), *KEYS))
    assert await maker.look() == 1
    # The store is full: what is older than all of it is not made, to be deleted at once.
    await stored(maker, make_event, "gate-3", video(3), days=1)
    maker.settings = msgspec.structs.replace(maker.settings, public_clip_keep_gb=1e-9)
    assert await maker.look() == 0


async def test_false_alarm_while_it_is_made_is_not_stored(maker, make_event, monkeypatch):
    await stored(maker, make_event, "gate-1", video(3))
    given, asked = ClipMaker._redact, []

    def redact(*arguments):
        asked.append(arguments)
        return given(*arguments)

    async def public(incidents, name):
        return not asked

    monkeypatch.setattr(ClipMaker, "_redact", redact)
    monkeypatch.setattr("notify.clips.is_public", public)
    await maker.look()
    assert asked and await maker.public.all() == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "BONGSU_CLIP_URL is not set"),
        ({"BONGSU_CLIP_URL": "a", "BONGSU_CLIP_PRIVATE_KEY": "x", "BONGSU_PUBLIC_CLIP_URL": "b"}, "the key must be"),
    ],
)
def test_wrong_setting_is_one_clear_line(given, reason, tmp_path, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "notify.clips"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and reason in done.stderr and len(done.stderr.strip().splitlines()) == 1
