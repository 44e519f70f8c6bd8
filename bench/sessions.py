"""Measures sessions as clients see them, compared with a direct WebSocket to the same model in the same run.

python -m bench sessions            or, for the clip's frames only: python -m bench.sessions
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.sync.client import connect as sync_connect

from sessions.catalogue import KINDS, resolve
from sessions.wire import picture_frame
from tests.sessions.cluster import Cluster, ask, free_port, running_cluster, url_of

_ROW = [0.5, 0.5, 0.2, 0.3]
_POSTS, _WORKERS = 200, 8


def rows(scale: float) -> list[tuple[str, str, str]]:
    """(what, measured, aim) for the table of `make bench`."""
    measured: list[tuple[str, str, str]] = []
    with running_cluster(
        sessions_warm="scalar=1,object=1", sessions_per_owner="100000", sessions_per_client="100000",
        sessions_wait_s="60", rate_limit="0",
    ) as cluster:  # fmt: skip
        base = cluster.serve()
        measured += [
            _ready(cluster, base, "scalar", max(3, int(20 * scale))),
            _ready(cluster, base, "object", max(3, int(10 * scale))),
            _cold(base, max(3, int(10 * scale))),
            *asyncio.run(_added(base, "scalar", int(4000 * scale))),
            *asyncio.run(_added(base, "object", int(200 * scale))),
            asyncio.run(_flooded(base, max(100, int(1000 * scale)))),
            _restarted(cluster),
        ]
    with running_cluster(
        sessions_warm=f"scalar={_WORKERS}", sessions_cores=str(_WORKERS * 0.05 + 0.001), sessions_per_owner="100000",
        rate_limit="0",
    ) as full:  # fmt: skip
        base = full.serve()
        full.await_idle("scalar", _WORKERS)
        measured.append(asyncio.run(_at_once(full, base)))
    measured.append(hold(max(10, int(500 * scale))))
    return measured


def hold(count: int) -> tuple[str, str, str]:
    """Memory of a receive server with this many idle connections, each to its own worker."""
    with running_cluster(
        sessions_warm="", sessions_cores=str(count), sessions_memory_mb=str(count * 100), sessions_per_owner="100000",
        sessions_wait_s="1", sessions_idle_s="3600", rate_limit="0",
    ) as cluster:  # fmt: skip
        return _held(cluster, cluster.serve(), count)


def _ready(cluster: Cluster, base: str, kind: str, count: int) -> tuple[str, str, str]:
    """From the request to the hello on the WebSocket, from the warm pool."""
    took = []
    for _ in range(count):
        cluster.await_idle(kind)
        took.append(_time_to_hello(base, kind))
    return f"ready from the warm pool, {kind}, {count} times", _spread_s(took), "0.3 s p95"


def _cold(base: str, count: int) -> tuple[str, str, str]:
    """A worker that must be started: the model `scene` is in no pool."""
    took = [_time_to_hello(base, "object", model="scene") for _ in range(count)]
    return f"ready where a worker must start, {count} times", _spread_s(took), "2 s p95"


def _time_to_hello(base: str, kind: str, **more: str) -> float:
    # A separate client, created before, because httpx's time to load certificates is not ours.
    with httpx.Client(base_url=base, timeout=60) as client:
        client.get("/healthz")
        began = time.perf_counter()
        session = client.post("/sessions", json={"kind": kind, "client": "car-1", **more}).json()
        with sync_connect(url_of(session)) as ws:
            ws.recv()
            took = time.perf_counter() - began
        client.delete(f"/sessions/{session['id']}", headers={"Session-Token": session["token"]})
    return took


async def _added(base: str, kind: str, count: int) -> list[tuple[str, str, str]]:
    """Round trips by turns through the session's path and directly to a worker, so that both see the same load."""
    session = ask(base, kind).json()
    with _direct_worker(kind) as port:
        async with connect(url_of(session)) as through, _direct(port) as direct:
            took: dict[str, list[float]] = {"through": [], "direct": []}
            for connection in (through, direct):
                await connection.recv()
                await _round_trip(connection, kind, 1)
            for n in range(2, 2 + count):
                for name, connection in (("through", through), ("direct", direct)):
                    took[name].append(await _round_trip(connection, kind, n))
    httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})
    (t50, t99), (d50, d99) = (_percentiles(took[name]) for name in ("through", "direct"))
    return [
        (f"{kind}: round trip, session against direct, p50, {count} each", f"{t50:.2f} against {d50:.2f} ms", ""),
        (f"{kind}: added by the path, p50 and p99", f"{t50 - d50:.2f} and {t99 - d99:.2f} ms", "2 and 5 ms"),
    ]


async def _round_trip(connection: ClientConnection, kind: str, n: int) -> float:
    message = json.dumps({"n": n, "row": _ROW}) if kind == "scalar" else picture_frame(n, _JPEG)
    began = time.perf_counter()
    await connection.send(message)
    await connection.recv()
    return (time.perf_counter() - began) * 1000


@contextlib.contextmanager
def _direct_worker(kind: str) -> Iterator[int]:
    port = free_port()
    command = [
        sys.executable, "-m", "sessions.worker", "--name", "direct", "--kind", kind, "--model", resolve(kind),
        "--listen", f"tcp:127.0.0.1:{port}", "--memory-mb", f"{KINDS[kind].memory_mb:g}",
        "--most-cores", f"{KINDS[kind].most_cores:g}",
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextlib.asynccontextmanager
async def _direct(port: int) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{port}/", additional_headers={"X-Bongsu-Session": "direct"}) as connection:
        yield connection


async def _flooded(base: str, count: int) -> tuple[str, str, str]:
    """A client's round trips while another client, a process, sends as fast as it can, and while it does not."""
    quiet, noisy = (ask(base, "scalar", client=name).json() for name in ("quiet", "noisy"))
    async with connect(url_of(quiet)) as mine:
        await mine.recv()
        alone = [await _round_trip(mine, "scalar", n) for n in range(1, count)]
        with _flooding(url_of(noisy)):
            beside = [await _round_trip(mine, "scalar", n) for n in range(count, 2 * count)]
    for session in (quiet, noisy):
        httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})
    (_, a99), (_, b99) = _percentiles(alone), _percentiles(beside)
    return "p99 with a flooding neighbour, against alone", f"{b99:.2f} against {a99:.2f} ms ({b99 / a99:.1f}x)", "2x"


@contextlib.contextmanager
def _flooding(url: str) -> Iterator[None]:
    # Another machine's processor, as far as one machine can say so: it has the lowest priority.
    command = ["nice", "-n", "19", sys.executable, "-m", "bench.sessions", "--flood", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait(10)


async def _flood(url: str) -> None:
    async with connect(url) as connection:
        await connection.recv()
        print("begins", flush=True)
        reading = asyncio.create_task(_read_all(connection))
        n = 0
        while not reading.done():
            n += 1
            await connection.send(json.dumps({"n": n, "row": _ROW}))


async def _read_all(connection: ClientConnection) -> None:
    async for _ in connection:
        pass


def _held(cluster: Cluster, base: str, count: int) -> tuple[str, str, str]:
    server = psutil.Process(cluster.servers[0].pid)
    before = server.memory_info().rss
    began = time.perf_counter()
    sessions = [ask(base, "scalar", client=f"held-{n}", ttl_s=3600).json() for n in range(count)]

    async def connect_all() -> tuple[int, int]:
        async with contextlib.AsyncExitStack() as stack, httpx.AsyncClient(base_url=base, timeout=60) as client:
            held = 0
            for session in sessions:
                await _await_ready(client, session)
                connection = await stack.enter_async_context(connect(url_of(session), open_timeout=60))
                await connection.recv()
                held += 1
            return held, server.memory_info().rss

    held, after = asyncio.run(connect_all())
    each_kb = (after - before) / max(1, held) / 1e3
    return (
        f"memory of a receive server that holds {held} sessions, all ready after {time.perf_counter() - began:.0f} s",
        f"{after / 1e6:.0f} MB, {each_kb:.0f} KB for each",
        "300 MB for 500",
    )


async def _await_ready(client: httpx.AsyncClient, session: dict[str, Any]) -> None:
    state = session["state"]
    while state != "ready":
        answer = await client.get(
            f"/sessions/{session['id']}", params={"wait_s": "20"}, headers={"Session-Token": session["token"]}
        )
        state = answer.json()["state"]


async def _at_once(cluster: Cluster, base: str) -> tuple[str, str, str]:
    """Simultaneous requests beyond the capacity, then the end of all of them."""
    began = time.perf_counter()
    limits = httpx.Limits(max_connections=_POSTS)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"{base}/sessions", json={"kind": "scalar", "client": f"c{n}", "ttl_s": 600})
                for n in range(_POSTS)
            )
        )
        took = time.perf_counter() - began
        answered = sum(1 for answer in answers if answer.status_code in (201, 202))
        different = len({answer.json().get("id") for answer in answers})
        for answer in answers:
            session = answer.json()
            await client.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})
    end = time.monotonic() + 60
    while (left := len(cluster.workers()) - _WORKERS) > 0 and time.monotonic() < end:
        await asyncio.sleep(0.2)
    return (
        f"{_POSTS} requests at once, room for {_WORKERS}",
        f"{answered} answered in {took:.1f} s, {_POSTS - different} twice, {max(0, left)} workers leaked",
        "all, none, none",
    )


def _restarted(cluster: Cluster) -> tuple[str, str, str]:
    cluster.servers[0].end(signal.SIGKILL)
    began = time.perf_counter()
    cluster.servers[0].start()
    cluster.await_server(cluster.ports[0])
    return "a killed receive server, started again, answers after", f"{time.perf_counter() - began:.2f} s", "3 s"


def _percentiles(took: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(took, [50, 99])
    return float(p50), float(p99)


def _spread_s(took: Sequence[float]) -> str:
    p50, p95 = np.percentile(took, [50, 95])
    return f"{p50:.2f} s p50, {p95:.2f} s p95"


def _frame() -> bytes:
    """A frame of the demo, as a camera would send it."""
    clip = cv2.VideoCapture(str(Path(__file__).parents[1] / "local/demo/media/street.mp4"))
    _, image = clip.read()
    clip.release()
    return cv2.imencode(".jpg", image)[1].tobytes()


_JPEG = _frame()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]:
        asyncio.run(_flood(sys.argv[2]))
        sys.exit()
    for row in rows(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0):
        print("| " + " | ".join(row) + " |", flush=True)
