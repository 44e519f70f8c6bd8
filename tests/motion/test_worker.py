from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.broker import Broker, BrokerError, TooLarge, connect
from functions.broker.memory import MemoryBroker
from functions.buffer import EventBuffer
from functions.event import Event, Message, decode
from functions.topology import queues
from motion import outbox as outbox_module
from motion.burst import CapturedBurst
from motion.config import Camera, ConfigError, load_cameras
from motion.outbox import Outbox
from motion.worker import Worker

QUICK = {"burst": {"frames": 3, "spacing_s": 0.1, "interval_s": 0.5}}


def entry(id_: str, url: Path | str, **changes: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "url": str(url),
        "place": {"lat": 37.5, "lon": 127, "name": "Gate", "region": "Seoul"},
        **changes,
    }


def write(path: Path, *cameras: dict[str, Any], text: str = "") -> Path:
    path.write_text(text or yaml.safe_dump({"defaults": QUICK, "cameras": list(cameras)}), encoding="utf-8")
    return path


class FlakyBroker(MemoryBroker):
    """A broker that can be away."""

    is_away = False
    tries = 0

    async def publish(self, *messages: Message) -> None:
        self.tries += 1
        if self.is_away:
            raise BrokerError("the broker is unreachable")
        await super().publish(*messages)


class IllBroker(MemoryBroker):
    """A broker that refuses some messages and takes the others."""

    def __init__(self, refused: str, error: BrokerError) -> None:
        super().__init__()
        self._refused, self._error = refused, error

    async def publish(self, *messages: Message) -> None:
        if any(self._refused in (m.routing_key, decode(m.body).camera) for m in messages):
            raise self._error
        await super().publish(*messages)


def always(broker: Broker) -> Callable[[], Awaitable[Broker]]:
    async def give() -> Broker:
        return broker

    return give


@asynccontextmanager
async def running(path: Path, broker: Broker, node: str | None = None) -> AsyncIterator[Worker]:
    stop = asyncio.Event()
    worker = Worker(path, always(broker), node)
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


async def events(broker: Broker, queue: str, least: int, within_s: float = 10.0) -> list[Event]:
    """At least so many events from a queue, in the order they came."""
    await broker.declare(queues([queue]))
    found: list[Event] = []
    async with broker.consume([queue]) as consumer:
        end_s = asyncio.get_running_loop().time() + within_s
        while len(found) < least:
            delivery = await consumer.get(max(0.0, end_s - asyncio.get_running_loop().time()))
            assert delivery is not None, f"{len(found)} of {least} events came: {found}"
            found.append(decode(delivery.message.body))
            await delivery.ack()
    return found


async def test_motion_event_has_what_later_stages_need(tmp_path: Path, draw_clip: Any) -> None:
    clip = draw_clip(seconds=8, moves_s=2)
    path = write(tmp_path / "cameras.yaml", entry("gate-1", clip, thresholds={"fire": 0.7}))
    broker = MemoryBroker()
    async with running(path, broker):
        first, second = await events(broker, "motion", 2)
    assert first.type == "motion"
    assert (first.camera, first.place.name, first.place.region) == ("gate-1", "Gate", "Seoul")
    assert len(first.frames) == 3
    assert all(frame.jpeg[:2] == b"\xff\xd8" for frame in first.frames)
    assert first.captured_at == first.frames[0].captured_at
    assert first.thresholds == {"fire": 0.7}
    assert [stage.name for stage in first.trace] == ["motion"]
    assert first.trace[0].got_at == first.captured_at
    assert first.frames[-1].captured_at <= first.trace[0].done_at
    assert first.id != second.id
    assert 0.4 < (second.captured_at - first.captured_at).total_seconds() < 2


async def test_bad_camera_does_not_disturb_the_good_one(tmp_path: Path, draw_clip: Any) -> None:
    path = write(
        tmp_path / "cameras.yaml",
        entry("good", draw_clip()),
        entry("bad", "rtsp://admin:hunter2@127.0.0.1:1/x"),
    )
    broker = MemoryBroker()
    async with running(path, broker):
        states = {e.camera: e for e in await events(broker, "camera.map", 2)}
    assert states["good"].status == "live"
    assert states["bad"].status == "lost: connection refused: is the camera on, and the port right?"
    assert states["bad"].type == "camera"
    assert states["bad"].place.name == "Gate"
    assert (await broker.depth("motion")).ready == 0


async def test_changed_file_restarts_only_what_changed(tmp_path: Path, draw_clip: Any) -> None:
    clip = draw_clip()
    path = write(tmp_path / "cameras.yaml", entry("kept", clip), entry("changed", clip), entry("removed", clip))
    broker = MemoryBroker()
    async with running(path, broker) as worker:
        await events(broker, "camera.map", 3)
        before = {key: stream for key, (_, stream) in worker._running.items()}
        write(path, entry("kept", clip), entry("changed", clip, sensitivity="high"), entry("added", clip))
        states = [(e.camera, e.status) for e in await events(broker, "camera.map", 3)]
        assert sorted(states) == [
            ("added", "live"),
            ("changed", "live"),
            ("removed", "lost: removed from the camera file"),
        ]
        after = {key: stream for key, (_, stream) in worker._running.items()}
        assert sorted(after) == ["added", "changed", "kept"]
        assert after["kept"] is before["kept"]
        assert after["changed"] is not before["changed"]


@pytest.mark.parametrize("end", ["stopped", "removed", "changed"])
async def test_burst_goes_out_when_its_camera_is_removed(tmp_path: Path, draw_clip: Any, end: str) -> None:
    moving = entry("gate-1", draw_clip(seconds=20, moves_s=1.5), burst={"frames": 16, "spacing_s": 0.5})
    other = entry("gate-2", "none.mp4")
    path = write(tmp_path / "cameras.yaml", moving, other)
    broker = MemoryBroker()
    await broker.declare(queues(["motion"]))
    async with running(path, broker) as worker:
        async with asyncio.timeout(15):
            while "gate-1" not in worker._running or len(worker._running["gate-1"][0]._frames) < 2:
                await asyncio.sleep(0.02)
        if end == "removed":
            write(path, other)
        if end == "changed":
            write(path, {**moving, "sensitivity": 0.6}, other)
        if end != "stopped":
            (found,) = await events(broker, "motion", 1)
    if end == "stopped":
        (found,) = await events(broker, "motion", 1)
    assert 2 <= len(found.frames) < 16


async def test_broken_new_file_keeps_the_old_one_in_force(
    tmp_path: Path, draw_clip: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = draw_clip()
    path = write(tmp_path / "cameras.yaml", entry("gate-1", clip))
    broker = MemoryBroker()
    async with running(path, broker) as worker:
        await events(broker, "camera.map", 1)
        for text in ("cameras: [", "cameras:\n- idd: a\n", "cameras:\n- id: a\n  url: {{ gate_url }}\n"):
            write(path, text=text)
            await asyncio.sleep(1.5)
            assert list(worker._running) == ["gate-1"]
        write(path, entry("gate-1", clip), entry("gate-2", clip))
        assert [e.camera for e in await events(broker, "camera.map", 1)] == ["gate-2"]
    refused = [line for line in capsys.readouterr().out.splitlines() if "cameras_refused" in line]
    assert len(refused) == 3


async def test_a_worker_reads_the_cameras_of_its_node(tmp_path: Path, draw_clip: Any) -> None:
    clip = draw_clip()
    path = write(tmp_path / "cameras.yaml", entry("a", clip, node="edge-1"), entry("b", clip, node="edge-2"))
    async with running(path, MemoryBroker(), "edge-2") as worker:
        await asyncio.sleep(0)
        assert list(worker._running) == ["b"]


@pytest.mark.parametrize("turns", range(8))
async def test_a_worker_ends_at_once_whenever_it_is_told_to(tmp_path: Path, draw_clip: Any, turns: int) -> None:
    path = write(tmp_path / "cameras.yaml", entry("a", "none.mp4"))
    async with running(path, MemoryBroker()):
        for _ in range(turns):
            await asyncio.sleep(0)


async def test_an_unusable_file_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        Worker(tmp_path / "none.yaml", always(MemoryBroker()))


async def test_broker_outage_stops_no_camera(tmp_path: Path, draw_clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_PAUSE_CAP_S", 0.5)
    path = write(tmp_path / "cameras.yaml", entry("gate-1", draw_clip(seconds=8, moves_s=1.5)))
    broker = FlakyBroker()
    broker.is_away = True
    async with running(path, broker) as worker:
        for _ in range(200):
            if len(worker._outbox._bursts) >= 2:
                break
            await asyncio.sleep(0.05)
        assert broker.tries >= 2
        broker.is_away = False
        assert (await events(broker, "camera.map", 1))[0].status == "live"
        found = await events(broker, "motion", 2)
    assert len({event.id for event in found}) == 2


def taken(path: Path, age_s: float = 0.0, size: int = 2) -> CapturedBurst:
    from datetime import timedelta

    from functions.event import Frame, utc_now

    camera: Camera = load_cameras(path).cameras[0]
    at = utc_now() - timedelta(seconds=age_s)
    return CapturedBurst(camera, at, (Frame(b"\xff\xd8".ljust(size, b"\0"), at),))


async def test_waiting_bursts_go_newest_first_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_MOST_BURSTS", 3)
    path = write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))
    broker = MemoryBroker()
    outbox = Outbox(always(broker))
    bursts = [taken(path, age_s) for age_s in (60, 45, 20, 10, 5)]
    lost = outbox_module.LOST.labels("gate-1")
    before = lost._value.get()
    for burst in bursts[1:]:
        outbox.put_burst(burst)
    outbox.put_burst(bursts[0])
    await outbox.flush()
    assert [e.id for e in await events(broker, "motion", 2)] == [bursts[4].id, bursts[3].id]
    assert (await broker.depth("motion")).ready == 0
    assert lost._value.get() - before == 3


async def test_large_bursts_that_wait_are_bounded_by_their_size(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))
    outbox = Outbox(always(MemoryBroker()))
    for _ in range(60):
        outbox.put_burst(taken(path, size=8_000_000))
    newest = taken(path, size=8_000_000)
    outbox.put_burst(newest)
    assert sum(len(frame.jpeg) for burst in outbox._bursts for frame in burst.frames) <= 256e6
    assert outbox._bursts[-1] is newest


@pytest.mark.parametrize("refused", ["camera", "motion"])
async def test_a_queue_that_takes_nothing_holds_up_no_other(tmp_path: Path, refused: str) -> None:
    path = write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))
    broker = IllBroker(refused, BrokerError("no leader"))
    outbox = Outbox(always(broker))
    outbox.put_state(load_cameras(path).cameras[0], "live")
    outbox.put_burst(taken(path))
    with pytest.raises(BrokerError, match="no leader"):
        await outbox.flush()
    other = {"camera": "motion", "motion": "camera.map"}[refused]
    assert [event.camera for event in await events(broker, other, 1)] == ["gate-1"]


async def test_bursts_without_end_hold_up_no_state(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))
    order: list[str] = []

    class Slow(MemoryBroker):
        """While it takes a burst the next one comes, as on a broker slower than the cameras."""

        async def publish(self, *messages: Message) -> None:
            order.extend(message.routing_key for message in messages)
            if len(order) < 50:
                outbox.put_burst(taken(path))
            await super().publish(*messages)

    outbox = Outbox(always(Slow()))
    outbox.put_burst(taken(path))
    outbox.put_state(load_cameras(path).cameras[0], "lost: frozen")
    await outbox.flush()
    assert order.index("camera") <= 1


async def test_a_burst_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.yaml", entry("ill", "a.mp4"))
    well = write(tmp_path / "well.yaml", entry("well", "b.mp4"))
    broker = IllBroker("ill", BrokerError("not confirmed"))
    outbox = Outbox(always(broker))
    for file in (well, path):
        outbox.put_burst(taken(file))
    for _ in range(2):
        with pytest.raises(BrokerError, match="not confirmed"):
            await outbox.flush()
    assert [event.camera for event in await events(broker, "motion", 1)] == ["well"]


async def test_only_the_oversized_burst_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "cameras.yaml", entry("wide", "a.mp4"))
    broker = IllBroker("wide", TooLarge("takes no message of 17000348 bytes"))
    outbox = Outbox(always(broker), EventBuffer(tmp_path / "buffer", max_bytes=1_000_000, max_age_s=600))
    lost = outbox_module.LOST.labels("wide")
    outbox.put_burst(taken(write(tmp_path / "well.yaml", entry("well", "b.mp4"))))
    outbox.put_burst(taken(path))
    await outbox.flush()
    assert [event.camera for event in await events(broker, "motion", 1)] == ["well"]
    assert lost._value.get() == 1
    output = capsys.readouterr().out
    assert "takes no message of 17000348 bytes: lower this camera's jpeg.width" in output


async def test_buffered_bursts_follow_in_order_marked_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_LATE_PAUSE_S", 0.05)
    path = write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))
    broker = FlakyBroker()
    broker.is_away = True
    outbox = Outbox(always(broker), EventBuffer(tmp_path / "buffer", max_bytes=1_000_000, max_age_s=600))
    late = [taken(path, age_s) for age_s in (60, 50, 40)]
    for burst in late:
        outbox.put_burst(burst)
    publishing = asyncio.create_task(outbox.run())
    async with asyncio.timeout(10):
        while broker.tries < 2 and len(outbox._buffer or []) != 3:
            await asyncio.sleep(0.02)
    fresh = taken(path)
    outbox.put_burst(fresh)
    broker.is_away = False
    found = await events(broker, "motion", 4)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    assert {e.id: e.late for e in found} == {fresh.id: False, **{burst.id: True for burst in late}}
    assert [e.id for e in found] == [fresh.id, *(burst.id for burst in late)]


async def test_what_could_not_be_published_outlives_the_worker(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))
    kept = EventBuffer(tmp_path / "buffer", max_bytes=1_000_000, max_age_s=600)
    outbox = Outbox(always(FlakyBroker()), kept)
    outbox.put_burst(taken(path))
    outbox.keep()
    broker = MemoryBroker()
    await broker.declare(queues(["motion"]))
    assert await kept.flush(broker) == 1


async def test_only_the_last_state_of_a_camera_waits_for_the_broker(tmp_path: Path) -> None:
    camera = load_cameras(write(tmp_path / "cameras.yaml", entry("gate-1", "clip.mp4"))).cameras[0]
    broker = MemoryBroker()
    outbox = Outbox(always(broker))
    for status in ("live", "lost: the stream ended", "live"):
        outbox.put_state(camera, status)
    await outbox.flush()
    assert [e.status for e in await events(broker, "camera.map", 1)] == ["live"]
    assert (await broker.depth("camera.map")).ready == 0


def start_process(folder: Path, **environment: str) -> subprocess.Popen[str]:
    given = {**os.environ, "BONGSU_BROKER_URL": f"sqlite:///{folder}/broker.db", **environment}
    given.pop("BONGSU_METRICS_PORT", None)
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "motion"], cwd=root, env=given, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def test_process_ends_on_sigterm_with_a_hung_camera(tmp_path: Path, draw_clip: Any) -> None:
    fifo = tmp_path / "hangs.mp4"
    os.mkfifo(fifo)  # opening it blocks, and no timeout of FFmpeg's ends that
    clip = draw_clip(seconds=6, moves_s=1.5)
    path = write(tmp_path / "cameras.yaml", entry("gate-1", clip), entry("stuck", fifo))
    process = start_process(tmp_path, BONGSU_CAMERAS=str(path))
    try:
        broker = await connect(f"sqlite:///{tmp_path}/broker.db")
        assert (await events(broker, "camera.map", 1, 20))[0].camera == "gate-1"
        assert (await events(broker, "motion", 1, 20))[0].camera == "gate-1"
        await broker.close()
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(process.communicate, timeout=5)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert str(clip) not in errors
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("text", "message"),
    [("cameras: [", "cameras.yaml: is not YAML"), ("cameras:\n- id: a\n  urll: b\n", "unknown key 'urll'")],
)
def test_the_process_refuses_a_wrong_file_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "cameras.yaml", text=text)
    process = start_process(tmp_path, BONGSU_CAMERAS=str(path))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
