"""An edge worker seals its clips, keeps them within their limits, and sends those that the map API wants."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import av
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from functions.broker.memory import MemoryBroker
from functions.clip import ClipName, name_in, seal_clip, unseal_clip
from functions.event import utc_now
from functions.sealing import PRIVATE, PUBLIC, SealError, write_key
from functions.settings import SettingsError
from motion.clip import Clip, ClipLimits
from motion.clip_folder import ClipFolder
from motion.clip_sender import ClipSender, SendError
from motion.clips import Clips
from motion.settings import load_clips
from motion.worker import Worker

from .test_worker import always, entry, events, write

KEY = X25519PrivateKey.generate()
PUBLIC_KEY, PRIVATE_KEY = KEY.public_key().public_bytes_raw(), KEY.private_bytes_raw()
DAY = timedelta(days=1)


def clip(seconds_ago: float = 10.0, *, camera: str = "gate-1", size: int = 1000) -> Clip:
    start = utc_now().replace(microsecond=0) - timedelta(seconds=seconds_ago)
    return Clip(ClipName(camera, start, start + timedelta(seconds=5)), os.urandom(size))


def folder(path: Path, camera_bytes: int = 10**9, max_age: timedelta = DAY) -> ClipFolder:
    return ClipFolder(path / "clips", [PUBLIC_KEY], camera_bytes=camera_bytes, max_age=max_age)


def names(path: Path) -> set[str]:
    return {str(file.relative_to(path / "clips")) for file in (path / "clips").rglob("*.sealed")}


async def test_worker_seals_a_clip_of_what_moved(tmp_path: Path, draw_clip: Any) -> None:
    cameras = write(tmp_path / "cameras.yaml", entry("gate-1", draw_clip(seconds=8, moves_s=2)))
    clips = Clips(ClipLimits(before_s=1, after_s=0.2, longest_s=5), folder(tmp_path), None)
    broker, stop = MemoryBroker(), asyncio.Event()
    task = asyncio.create_task(Worker(cameras, always(broker), clips=clips).run(stop))
    (burst, *_) = await events(broker, "motion", 1)
    stop.set()
    await task
    (file,) = (tmp_path / "clips/gate-1").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert b"ftyp" not in file.read_bytes()
    name, mp4 = unseal_clip(file.read_bytes(), PRIVATE_KEY)
    assert name.path == f"gate-1/{file.name}" and name.meets(burst.captured_at, burst.captured_at)
    assert name.start < burst.captured_at - timedelta(seconds=0.9)
    with av.open(io.BytesIO(mp4)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def test_only_the_private_key_opens_an_unchanged_clip() -> None:
    given = clip()
    sealed = seal_clip(given.name, given.mp4, PUBLIC_KEY)
    assert unseal_clip(sealed, PRIVATE_KEY) == (given.name, given.mp4)
    assert name_in(sealed) == given.name
    other = X25519PrivateKey.generate().private_bytes_raw()
    for bad, key in (
        (sealed, other),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), PRIVATE_KEY),
        (sealed.replace(b"gate-1", b"gate-2"), PRIVATE_KEY),
        (sealed[:60], PRIVATE_KEY),
        (given.mp4, PRIVATE_KEY),
    ):
        with pytest.raises(SealError):
            unseal_clip(bad, key)


@pytest.mark.parametrize(
    "path",
    ["../x/20260302T050300000Z-20260302T050310000Z.sealed", "gate-1/20260302T050300000Z-20260302T050310000Z.mp4",
     "gate-1/20261302T050300000Z-20260302T050310000Z.sealed", "gate-1/20260302T050310000Z-20260302T050300000Z.sealed",
     "gate-1/20260302T050300000Z-20260303T050300000Z.sealed", "gate-1/a/20260302T050300000Z-20260302T050310000Z.sealed",
     "gate-1"],
)  # fmt: skip
def test_other_paths_name_no_clip(path: str) -> None:
    assert ClipName.parse(path) is None
    assert ClipName.parse("gate-1/20260302T050300000Z-20260302T050310000Z.sealed") is not None


def test_oldest_clips_of_a_camera_make_room_for_its_own(tmp_path: Path) -> None:
    kept = folder(tmp_path, camera_bytes=3600)
    kept.put(other := clip(camera="gate-2", size=3000))
    given = [clip(seconds_ago) for seconds_ago in (40, 30, 20, 10)]
    for one in given:
        kept.put(one)
    assert names(tmp_path) == {one.name.path for one in (*given[1:], other)}


def test_clips_older_than_the_limit_are_deleted(tmp_path: Path) -> None:
    kept = folder(tmp_path, max_age=timedelta(hours=1))
    (tmp_path / "clips/gate-2").mkdir()
    old, ours = clip(7200, camera="gate-2").name, tmp_path / "clips/gate-2/notes.txt"
    (tmp_path / "clips" / old.path).write_bytes(b"")
    ours.write_text("ours")
    kept.put(fresh := clip())
    assert names(tmp_path) == {fresh.name.path} and ours.exists()


class MapApi(BaseHTTPRequestHandler):
    """Wants the clips of one camera, and answers as it is asked to."""

    wanted: ClassVar[list[dict[str, Any]]] = []
    taken: ClassVar[dict[str, bytes]] = {}
    status = 204
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self._answer(200 if self.headers["Authorization"] == "Bearer node-key" else 401, {"wanted": self.wanted})

    def do_PUT(self) -> None:
        self.taken[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.status, None)

    def _answer(self, status: int, content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    MapApi.wanted, MapApi.taken, MapApi.asked, MapApi.status = [], {}, [], 204
    with ThreadingHTTPServer(("127.0.0.1", 0), MapApi) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def want(camera: str, around: datetime) -> dict[str, Any]:
    second = timedelta(seconds=1)
    return {"camera": camera, "since": (around - second).isoformat(), "until": (around + second).isoformat()}


def test_clips_of_incidents_are_sent_and_no_others(tmp_path: Path, api: str) -> None:
    kept = folder(tmp_path)
    sender = ClipSender(kept, api, "node-key", DAY)
    assert sender.send_wanted() == 0 and MapApi.asked == []
    wanted, later, other = clip(100), clip(50), clip(100, camera="gate-2")
    for one in (wanted, later, other):
        kept.put(one)
    assert sender.send_wanted() == 0 and MapApi.taken == {}
    MapApi.wanted = [want("gate-1", wanted.name.start), want("gate-9", wanted.name.start)]
    assert sender.send_wanted() == 1
    ((path, sealed),) = MapApi.taken.items()
    assert path == f"/api/clips/{wanted.name.path}" and unseal_clip(sealed, PRIVATE_KEY)[1] == wanted.mp4
    assert names(tmp_path) == {later.name.path, other.name.path}
    # After its start it asks for what is recent.
    first, last = (
        datetime.fromisoformat(asked.partition("since=")[2].replace("%3A", ":"))
        for asked in (MapApi.asked[0], MapApi.asked[-1])
    )
    assert first < datetime.now(UTC) - timedelta(hours=23) < last


def test_clip_waits_while_the_map_api_cannot_take_it(tmp_path: Path, api: str) -> None:
    kept = folder(tmp_path)
    kept.put(one := clip())
    MapApi.wanted, MapApi.status = [want("gate-1", one.name.start)], 503
    with pytest.raises(SendError, match="answered 503"):
        ClipSender(kept, api, "node-key", DAY).send_wanted()
    with pytest.raises(SendError, match="BONGSU_CLIP_API_KEY is not in its key file"):
        ClipSender(kept, api, "other", DAY).send_wanted()
    with pytest.raises(SendError, match="no answer"):
        ClipSender(kept, "http://127.0.0.1:1", "node-key", DAY).send_wanted()
    assert names(tmp_path) == {one.name.path}
    MapApi.status = 413
    assert ClipSender(kept, api, "node-key", DAY).send_wanted() == 0
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"KEY": ""}, "the key must be bongsu-originals-public-"),
        ({"KEY": write_key(b"k" * 32, PRIVATE)}, "is a private key"),
        ({"MB": "0"}, "BONGSU_CLIP_MB must be from 1 to 60, got 0"),
        ({"API": "http://127.0.0.1:8080"}, "BONGSU_CLIP_API_KEY is missing"),
        ({"API": "city.example", "API_KEY": "k"}, "must start with http"),
    ],
)
def test_wrong_settings_are_reported_in_one_line(
    given: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_clips() is None
    monkeypatch.setenv("BONGSU_CLIP_DIR", str(tmp_path / "clips"))
    monkeypatch.setenv("BONGSU_CLIP_KEY", write_key(PUBLIC_KEY, PUBLIC))
    assert Clips.open(load_clips()) is not None
    for name, value in given.items():
        monkeypatch.setenv(f"BONGSU_CLIP_{name}", value)
    with pytest.raises(SettingsError, match=reason):
        load_clips()


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(SettingsError, match=r"BONGSU_CLIP_DIR: .*clips"):
        folder(tmp_path)


def test_each_of_several_keys_opens_a_clip_by_itself():
    keys = [X25519PrivateKey.generate() for _ in range(3)]
    name = clip().name
    sealed = seal_clip(name, b"an mp4" * 1000, *(key.public_key().public_bytes_raw() for key in keys[:2]))
    for key in keys[:2]:
        assert unseal_clip(sealed, key.private_bytes_raw()) == (name, b"an mp4" * 1000)
    # The video is in it once.
    assert len(sealed) < 6_600 and name_in(sealed) == name
    for altered in (
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
        sealed.replace(b'"keys":2', b'"keys":1'),
        sealed.replace(b"clip 2", b"clip 1"),
    ):
        with pytest.raises(SealError):
            unseal_clip(altered, keys[0].private_bytes_raw())
    with pytest.raises(SealError, match="other keys"):
        unseal_clip(sealed, keys[2].private_bytes_raw())
