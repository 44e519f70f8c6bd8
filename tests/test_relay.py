"""The whole relay as a new user sees it: `bongsu run --demo`, real RTSP, real network, real processes, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[1]
_BONGSU = "from functions.cli import main; main()"


class Relay:
    """A running `bongsu run`, and its API."""

    def __init__(self, process: subprocess.Popen[bytes], base: str, log: Path) -> None:
        self.process = process
        self.base = base
        self.log = log
        self.family: list[psutil.Process] = []

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.base}{path}", timeout=10) as answer:
            return json.load(answer)

    def picture(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.base}{path}", timeout=10) as answer:
            body: bytes = answer.read()
            return body

    def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                pytest.fail(f"bongsu run ended early:\n{self.log.read_text()[-4000:]}")
            try:
                if condition():
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            if time.monotonic() > end:
                pytest.fail(f"not within {seconds} s: {what}\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def stop(self) -> int:
        """Ctrl-C; no process that was there before it may be left after it."""
        if self.process.poll() is None:
            self.family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def left(self) -> list[psutil.Process]:
        """Processes that outlived the stop; they are killed."""
        # The standard library's resource tracker ends a moment after the process that it tracks for.
        _, alive = psutil.wait_procs(self.family, timeout=5)
        for process in alive:
            process.kill()
        return alive


@contextmanager
def relay(state: Path, port: int, **variables: str) -> Iterator[Relay]:
    log = state.parent / "run.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _BONGSU, "run", "--demo", "--state", str(state), "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=out,
            stderr=out,
        )
    running = Relay(process, f"http://127.0.0.1:{port}", log)
    try:
        running.until(lambda: running.get("/api/cameras") is not None, "the API answers", 30)
        yield running
    finally:
        running.stop()
        left = running.left()
    assert not left, f"processes left behind: {left}"


def hazards(relay: Relay) -> dict[str, dict[str, Any]]:
    """Incidents by hazard that have their picture and their words."""
    features = relay.get("/api/incidents")["features"]
    return {
        f["properties"]["hazard"]: f["properties"]
        for f in features
        if f["properties"]["snapshot"] and f["properties"]["caption"]
    }


def went_up_and_down(relay: Relay) -> bool:
    functions = {f["name"]: [sample[1] for sample in f["history"]] for f in relay.get("/api/pipeline")["functions"]}
    if set(functions) != {"detect", "map", "caption", "post", "push"}:
        return False
    return all(max(replicas, default=0) >= 1 and replicas[-1] == 0 for replicas in functions.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_shows_pins_and_posts_and_goes_back_to_zero(
    tmp_path: Path, unused_tcp_port: int, unused_tcp_port_factory: Callable[[], int]
) -> None:
    # The page's own port tells the public nothing of how the relay is doing inside.
    metrics_port = unused_tcp_port_factory()
    with relay(tmp_path / "state", unused_tcp_port, BONGSU_METRICS_PORT=str(metrics_port)) as running:
        wanted = {"accident", "fire", "gun"}
        running.until(lambda: wanted <= set(hazards(running)), "accident, fire and gun are pins with pictures", 120)
        for properties in hazards(running).values():
            assert running.picture(properties["snapshot"]).startswith(b"\xff\xd8")
            assert properties["caption"]["en"]
            assert properties["caption"]["ko"]
        running.until(
            lambda: wanted <= {i["_bongsu"]["hazard"] for i in running.get("/feed.json")["items"]}, "three posts", 30
        )
        running.until(lambda: went_up_and_down(running), "every function went 0 -> 1 -> 0", 120)

        # One fire is one incident and one post, however often it is seen.
        posts = [i["_bongsu"]["incident"] for i in running.get("/feed.json")["items"]]
        assert len(posts) == len(set(posts))
        page = running.picture("/").decode()
        assert "<title>" in page
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert 'bongsu_events_handled_total{function="detect"' in metrics
        before = len(running.get("/api/incidents")["features"])
        assert running.stop() == 0

    with relay(tmp_path / "state", unused_tcp_port) as running:
        assert len(running.get("/api/incidents")["features"]) >= before, "a restart continues"
