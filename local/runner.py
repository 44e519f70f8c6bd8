"""The whole relay on one machine: starts what is always on, scales what is not, and stops all of it in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from functions.broker import BrokerError, connect
from functions.topology import MOTION, queues
from local.autoscaler import Autoscaler
from local.checks import DEMO, Options, RunError, answers, find_cameras, free_ports, require_port, shown_host
from local.fork_server import ForkServer
from local.manifest import ManifestError, Workload, read_workloads
from local.pool import Pool
from local.process.output import Output
from local.process.service import Command, Service
from local.sessions import sessions_environment, sessions_services
from local.state import State, StateError, open_state

_API_READY_S = 10.0
_SAME_SIGNAL_S = 0.5
"""`timeout` and some shells send the same signal twice, to us and to our group: nobody has asked to hurry."""
_METRICS_PORT = "BONGSU_METRICS_PORT"
"""A port for one process; here the map's `/metrics` speaks for all."""


async def run(options: Options) -> None:
    """Run until SIGINT or SIGTERM; a second one hurries. No process is left when this returns.

    Raises:
        RunError: something that it needs is missing, wrong or taken.
    """
    try:
        cameras = find_cameras(options)
        workloads = find_workloads(options.keda)
        state, lock = open_state(options.state)
    except (StateError, ManifestError) as error:
        raise RunError(str(error)) from None
    with lock:
        await require_port(options.host, options.port)
        environment = {**_environment(options, state), **await sessions_environment(options, state)}
        os.environ.update(environment)
        os.environ.pop(_METRICS_PORT, None)
        ours = {*environment, _METRICS_PORT}
        workloads = [
            replace(workload, env={name: value for name, value in workload.env.items() if name not in ours})
            for workload in workloads
        ]
        await _declare(state, workloads)
        await _Relay(options, state, cameras, workloads).run()
        lock.truncate(0)


def find_workloads(folder: Path | None) -> list[Workload]:
    """What is scaled: the workloads of one folder.

    Args:
        folder: Where the manifests are. None: those that come with Bongsu, and those of `keda` here, which take the
            place of Bongsu's by name.

    Raises:
        ManifestError: there is none, or one of them cannot be honoured.
    """
    if folder is not None:
        return read_workloads(folder)
    here, ours = Path("keda"), Path(__file__).parents[1] / "keda"
    folders = [ours, here] if here.is_dir() and not here.samefile(ours) else [ours]
    return list({workload.name: workload for one in folders for workload in read_workloads(one)}.values())


class _Relay:
    def __init__(self, options: Options, state: State, cameras: Path, workloads: list[Workload]) -> None:
        self._options = options
        self._output = Output(state.logs)
        self._state = state
        self._workloads = workloads
        self._fork_server = ForkServer([w.target for w in workloads if not w.target.endswith(".py")])
        self._pools = [Pool(workload, self._fork_server, self._output) for workload in workloads]
        self._api = Service(Command("api", "api.server", grace_s=5.0), self._output)
        motion_env = {"BONGSU_CAMERAS": str(cameras)}
        self._sources: list[Service] = []
        if options.is_demo:
            port, control_port = free_ports(2)
            motion_env["BONGSU_DEMO_RTSP_PORT"] = str(port)
            self._sources.append(Service(_demo_cameras(port, control_port), self._output))
        self._sessions = sessions_services(options, self._output)
        self._motion = Service(Command("motion", "motion", env=motion_env), self._output)
        self._autoscaler = Autoscaler(
            list(zip(workloads, self._pools, strict=True)), state.broker_url, state.status_file, self._output
        )

    async def run(self) -> None:
        say = self._output.say
        stopping, hurrying = _catch_signals()
        for note in (note for workload in self._workloads for note in workload.notes):
            say(note)
        url = f"http://{shown_host(self._options.host)}:{self._options.port}"
        say(f"bongsu   starting; state and logs are in {self._state.root}")
        self._api.start()
        scaling = None
        try:
            # The page first: it is what somebody waits for. The rest shares the processor with it.
            answering = asyncio.create_task(answers(self._options.host, self._options.port, _API_READY_S))
            await _first(answering, stopping.wait())
            if answering.done() and not answering.result():
                say(f"api      does not answer yet; its log is {self._output.log_file('api')}")
            answering.cancel()
            if not stopping.is_set():
                for service in (*self._sources, self._motion, *self._sessions):
                    service.start()
                await self._fork_server.open()
                scaling = asyncio.create_task(self._autoscaler.run())
                say(f"bongsu   watching; the map is at {url}   (Ctrl-C stops)")
                if self._sessions:
                    say(f"bongsu   sessions are at {os.environ['BONGSU_SESSIONS_URL']} (docs/sessions.md)")
                names = ", ".join(f"{w.name} 0..{w.rule.max_replicas}" for w in self._workloads)
                say(f"bongsu   asleep until there is work: {names}")
                await _first(stopping.wait(), scaling)
        finally:
            await self._stop(scaling, hurrying)
        if scaling is not None and not scaling.cancelled():
            scaling.result()  # It only ends by itself when it fails: let that be seen.

    async def _stop(self, scaling: asyncio.Task[None] | None, hurrying: asyncio.Event) -> None:
        say = self._output.say
        order = "sessions and motion, then the functions finish what they have, then the map"
        say(f"bongsu   stopping: {order} (Ctrl-C again hurries)")
        in_order = asyncio.create_task(self._stop_in_order(scaling))
        await _first(hurrying.wait(), asyncio.shield(in_order))
        if not in_order.done():
            say("bongsu   hurrying: what is in work will be delivered again next time")
            for service in (*self._sessions, self._motion, *self._sources, self._api):
                service.kill()
            for pool in self._pools:
                pool.kill()
        await in_order
        say("bongsu   stopped; what still waits is kept for the next run")

    async def _stop_in_order(self, scaling: asyncio.Task[None] | None) -> None:
        # The receive server before the agent: its clients get a word of farewell.
        for service in (*reversed(self._sessions), self._motion, *self._sources):
            await service.stop()
        if scaling is not None:
            scaling.cancel()
            await asyncio.wait([scaling])
        await asyncio.gather(*(pool.stop() for pool in self._pools))
        await self._api.stop()
        await self._fork_server.close()


def _environment(options: Options, state: State) -> Mapping[str, str]:
    """What every child gets; set in this process, since the fork server takes it from here."""
    here = str(Path.cwd())
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        "BONGSU_BROKER_URL": state.broker_url,
        "BONGSU_DATABASE_URL": state.database_url,
        "BONGSU_SNAPSHOT_URL": str(state.snapshots),
        "BONGSU_SCALE_STATUS": str(state.status_file),
        "BONGSU_HTTP_HOST": options.host,
        "BONGSU_HTTP_PORT": str(options.port),
        "BONGSU_LOG_FORMAT": "json",
        # Queues by region are for several sites.
        "BONGSU_REGIONS": "",
        "BONGSU_REGION": "",
        "PROMETHEUS_MULTIPROC_DIR": str(state.prometheus),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([here, *filter(None, paths)])),
        "PYTHONUNBUFFERED": "1",
        # Without these, importing numpy, cv2 and onnxruntime starts threads, which no fork can take along; and
        # onnxruntime (since 1.29) would report what it runs to its makers.
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }


async def _declare(state: State, workloads: list[Workload]) -> None:
    """Make every queue, so that no event is unroutable while its function has never run."""
    names = [MOTION, *(name for workload in workloads for name in workload.rule.queues)]
    try:
        broker = await connect(state.broker_url)
        try:
            await broker.declare(queues(names))
        finally:
            await broker.close()
    except BrokerError as error:
        raise RunError(str(error)) from None


def _demo_cameras(port: int, control_port: int) -> Command:
    arguments = ("--dir", str(DEMO / "media"), "--host", "127.0.0.1")
    ports = ("--port", str(port), "--control-port", str(control_port))
    # The module behind the `rtsp-server` script of aio-rtsp-toolkit.
    return Command("cameras", "server_demo", (*arguments, *ports), grace_s=3.0)


def _catch_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set the first event at the first signal, the second at the next."""
    stopping, hurrying = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    first_at = 0.0

    def caught() -> None:
        nonlocal first_at
        if not stopping.is_set():
            first_at = loop.time()
            stopping.set()
        elif loop.time() - first_at > _SAME_SIGNAL_S:
            hurrying.set()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # `nohup` has asked to go on
            loop.add_signal_handler(signum, caught)
    return stopping, hurrying


async def _first(*waits: object) -> None:
    """Wait for the first of these; the others are cancelled, but for tasks, which belong to their makers."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:
                task.cancel()
