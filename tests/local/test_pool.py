from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from functions.broker import connect
from functions.topology import queues
from local.manifest import Workload
from local.pool import Pool
from local.process.fork_server import ForkServer
from local.process.output import Output
from local.rules import Rule, Trigger

from .conftest import ROOT, eventually

IDLE = """
from functions import Event, on

@on("fire")
async def handle(event: Event) -> None: ...
"""
MakePool = Callable[..., Pool]


@pytest.fixture
async def make_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakePool]:
    url = f"sqlite:///{tmp_path / 'broker.db'}"
    broker = await connect(url)
    await broker.declare(queues(["fire.idle"]))
    await broker.close()
    monkeypatch.setenv("BONGSU_BROKER_URL", url)
    # As in the runner's environment.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    fork_server = ForkServer(
        ["functions.broker.sqlite", "functions.runtime", "onnxruntime"]
    )  # as the detector's module imports it
    await fork_server.open()
    pools: list[Pool] = []

    def make(code: str, *, grace_s: float = 10.0, lines: list[str] | None = None) -> Pool:
        (tmp_path / "idle.py").write_text(code)
        rule = Rule((Trigger("fire.idle", 10.0),))
        workload = Workload("idle", str(tmp_path / "idle.py"), rule, grace_s, {"TONE": "calm"})
        pools.append(Pool(workload, fork_server, Output(tmp_path, (lines if lines is not None else []).append)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.kill()
        await pool.stop()
    await fork_server.close()


async def test_newest_replica_leaves_first(make_pool: MakePool) -> None:
    pool = make_pool(IDLE)
    pool.scale(1)
    await eventually(lambda: pool.running == 1)
    (oldest,) = pool.pids
    pool.scale(3)
    await eventually(lambda: pool.running == 3)
    pool.scale(1)
    await eventually(lambda: pool.pids == [oldest])
    await pool.stop()
    assert pool.pids == []
    assert not psutil.pid_exists(oldest)


async def test_replica_that_is_dismissed_while_it_starts_leaves_too(make_pool: MakePool) -> None:
    pool = make_pool(IDLE)
    pool.scale(2)
    pool.scale(0)
    await pool.stop()
    assert (pool.running, pool.pids) == (0, [])


async def test_replica_that_ignores_sigterm_is_killed_after_its_grace(make_pool: MakePool, tmp_path: Path) -> None:
    lines: list[str] = []
    ready = tmp_path / "ready"
    stubborn = f"import signal, time\nsignal.signal(15, signal.SIG_IGN)\nopen({str(ready)!r}, 'w')\ntime.sleep(60)\n"
    pool = make_pool(stubborn, grace_s=0.3, lines=lines)
    pool.scale(1)
    await eventually(ready.exists)
    await pool.stop()
    assert pool.pids == []
    assert "did not stop within its grace period of 0 s: was killed (SIGKILL)" in lines[0]


async def test_replica_has_its_manifests_environment(make_pool: MakePool, tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = f"""
import multiprocessing, os
context = multiprocessing.get_context("fork")
child = context.Process(target=open, args=({str(said)!r} + os.environ["TONE"], "w"))
child.start()
child.join()
{IDLE}"""
    pool = make_pool(code)
    pool.scale(1)
    await eventually((tmp_path / "saidcalm").exists)


# Runs a network on a random picture and writes its output to OUT.
INFER = """
import sys
import numpy as np
assert FORKED == ("onnxruntime" in sys.modules)  # the fork server has imported it
import onnxruntime
session = onnxruntime.InferenceSession(WEIGHTS, providers=["CPUExecutionProvider"])
(wanted,) = session.get_inputs()
shape = [n if isinstance(n, int) else (1 if i == 0 else 320) for i, n in enumerate(wanted.shape)]
picture = np.random.default_rng(1).random(shape, dtype=np.float32)
np.save(OUT, session.run(None, {wanted.name: picture})[0])
"""


async def test_network_infers_after_the_fork_as_it_does_without(make_pool: MakePool, tmp_path: Path) -> None:
    # `local/process/preload.py` relies on this: the module is imported before the fork, the session opened after it.
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("onnxruntime")
    data = Path(os.environ.get("BONGSU_DATA", "/nonexistent"))
    weights = [*sorted((ROOT / "detect" / "weights").glob("*.onnx")), *sorted((data / "models").glob("*_320.onnx"))]
    if not weights:
        pytest.skip("no weights in detect/weights")

    def infer(is_forked: bool, out: Path) -> str:
        return INFER.replace("FORKED", str(is_forked)).replace("WEIGHTS", repr(str(weights[0]))).replace(
            "OUT", repr(str(out))
        )  # fmt: skip

    pool = make_pool(infer(True, tmp_path / "part.npy") + f"import os; os.rename({str(tmp_path / 'part.npy')!r}, "
                     f"{str(tmp_path / 'there.npy')!r})\n{IDLE}")  # fmt: skip
    pool.scale(1)
    await eventually((tmp_path / "there.npy").exists)
    here = infer(False, tmp_path / "here.npy").replace("assert ", "# ")
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", here], check=True)
    assert numpy.allclose(numpy.load(tmp_path / "there.npy"), numpy.load(tmp_path / "here.npy"), atol=1e-4)
