"""The whole pipeline on one machine: runs the services, scales the functions, and stops everything in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from functions.broker import BrokerError, connect
from functions.topology import MOTION, queues
from local.autoscaler import Autoscaler
from local.checks import DEMO, Options, RunError, answers, find_cameras, free_ports, own_copy, require_port, shown_host
from local.declared import find_hooks, find_schedules, needed_queues
from local.fleet import fleet_environment, fleet_services
from local.manifest import ManifestError, Workload, read_workloads
from local.pool import Pool
from local.process.fork_server import ForkServer
from local.process.output import Output
from local.process.service import Command, Service
from local.sessions import sessions_environment, sessions_services
from local.state import State, StateError, caption_keys, open_state, push_keys
from local.ticker import Ticker

_API_READY_S = 10.0
_SAME_SIGNAL_S = 0.5
"""`timeout` and some shells signal both us and our group: a repeat this soon is not a second request."""
_METRICS_PORT = "BONGSU_METRICS_PORT"
"""The metrics port of a single process: only the map API gets it, as it serves for all."""
_PRELOADED = (
    "functions.broker.sqlite",
    "functions.cli",  # the main module of `bongsu`, which multiprocessing imports again in each child
    "functions.runtime",
)
"""Modules that every replica needs."""


async def run(options: Options) -> None:
    """Run until SIGINT or SIGTERM; a second one kills at once. No process is left when this returns.

    Raises:
        RunError: a file, a port or the state folder is missing, invalid or in use.
    """
    try:
        cameras = find_cameras(options)
        workloads = find_workloads(options.keda)
        state, lock = open_state(options.state)
        if options.is_demo and options.cameras is None:
            cameras = own_copy(cameras, state.root)
    except (StateError, ManifestError) as error:
        raise RunError(str(error)) from None
    with lock:
        await require_port(options.host, options.port)
        try:
            environment = {
                **_environment(options, state), **await sessions_environment(options, state),
                **fleet_environment(options, state),
            }  # fmt: skip
        except StateError as error:
            raise RunError(str(error)) from None
        os.environ.update(environment)
        os.environ["BONGSU_HOOKS"] = find_hooks(workloads)
        metrics_port = os.environ.pop(_METRICS_PORT, "")
        ours = {*environment, _METRICS_PORT, "BONGSU_HOOKS"}
        workloads = [
            replace(workload, env={name: value for name, value in workload.env.items() if name not in ours})
            for workload in workloads
        ]
        await _declare(state, workloads)
        await _Relay(options, state, cameras, workloads, metrics_port).run()
        lock.truncate(0)


def find_workloads(folder: Path | None) -> list[Workload]:
    """The workloads to scale.

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
    def __init__(
        self, options: Options, state: State, cameras: Path, workloads: list[Workload], metrics_port: str
    ) -> None:
        self._options = options
        self._output = Output(state.logs)
        self._state = state
        self._workloads = workloads
        targets = [w.target for w in workloads if not w.target.endswith(".py")]
        self._fork_server = ForkServer([*_PRELOADED, *targets])
        self._pools = [Pool(workload, self._fork_server, self._output) for workload in workloads]
        motion_env = {"BONGSU_CAMERAS": str(cameras)}
        self._sources: list[Service] = []
        if options.is_demo:
            port, control_port = free_ports(2)
            motion_env["BONGSU_DEMO_RTSP_PORT"] = str(port)
            self._sources.append(Service(_demo_cameras(port, control_port), self._output))
        # The page for cameras opens them in processes of motion's, which need the same environment.
        api_env = {**motion_env, _METRICS_PORT: metrics_port, "BONGSU_CAMERAS_FILE": str(cameras)}
        self._api = Service(Command("api", "api.server", grace_s=5.0, env=api_env), self._output)
        self._sessions = sessions_services(options, self._output)
        # They follow the database, so they end after the functions: what they write last is published too.
        bridges = {"BONGSU_MQTT_URL": ("mqtt", "notify.mqtt"), "BONGSU_CLIP_PRIVATE_KEY": ("clips", "notify.clips")}
        self._bridges = [
            Service(Command(*names, grace_s=5.0), self._output)
            for variable, names in bridges.items()
            if os.environ.get(variable) or os.environ.get(f"{variable}_FILE")
        ]
        self._fleet = fleet_services(options, str(cameras), self._output)
        self._motion = Service(Command("motion", "motion", env=motion_env), self._output)
        self._autoscaler = Autoscaler(
            list(zip(workloads, self._pools, strict=True)), state.broker_url, state.status_file, self._output
        )
        self._ticker = Ticker(
            find_schedules(workloads), state.broker_url, state.status_file.with_name("ticks.json"), self._output
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
            # The page first, as the user waits for it; then the rest, which shares the CPU with it.
            answering = asyncio.create_task(answers(self._options.host, self._options.port, _API_READY_S))
            await _first(answering, stopping.wait())
            if answering.done() and not answering.result():
                say(f"api      does not answer yet; its log is {self._output.log_file('api')}")
            answering.cancel()
            if not stopping.is_set():
                services = (*self._bridges, *self._fleet, *self._sources, self._motion, *self._sessions)
                for service in services:
                    service.start()
                await self._fork_server.open()
                scaling = asyncio.create_task(self._scale_and_tick())
                say(f"bongsu   watching; the map is at {url}   (Ctrl-C stops)")
                if self._sessions:
                    say(f"bongsu   sessions are at {os.environ['BONGSU_SESSIONS_URL']} (docs/sessions.md)")
                names = ", ".join(f"{w.name} 0..{w.rule.max_replicas}" for w in self._workloads)
                say(f"bongsu   asleep until there is work: {names}")
                await _first(stopping.wait(), scaling)
        finally:
            await self._stop(scaling, hurrying)
        if scaling is not None and not scaling.cancelled():
            scaling.result()  # This task only ends when it fails: raise its error.

    async def _scale_and_tick(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._autoscaler.run())
            group.create_task(self._ticker.run())

    async def _stop(self, scaling: asyncio.Task[None] | None, hurrying: asyncio.Event) -> None:
        say = self._output.say
        order = "sessions and motion, then the functions finish their events, then the map"
        say(f"bongsu   stopping: {order} (Ctrl-C again kills them)")
        in_order = asyncio.create_task(self._stop_in_order(scaling))
        await _first(hurrying.wait(), asyncio.shield(in_order))
        if not in_order.done():
            say("bongsu   killing: unfinished events are redelivered in the next run")
            for service in (
                *self._sessions, self._motion, *self._sources, *self._fleet, *self._bridges, self._api
            ):  # fmt: skip
                service.kill()
            for pool in self._pools:
                pool.kill()
        await in_order
        say("bongsu   stopped; waiting events are kept for the next run")

    async def _stop_in_order(self, scaling: asyncio.Task[None] | None) -> None:
        # The agent before the receive server, which moves its sessions to upstream servers or ends their connections.
        for service in (*self._sessions, self._motion, *self._sources, *self._fleet):
            await service.stop()
        if scaling is not None:
            scaling.cancel()
            await asyncio.wait([scaling])
        await asyncio.gather(*(pool.stop() for pool in self._pools))
        await asyncio.gather(self._api.stop(), *(bridge.stop() for bridge in self._bridges))
        await self._fork_server.close()


def _environment(options: Options, state: State) -> Mapping[str, str]:
    """Environment of every child; set in this process, as the fork server inherits it."""
    here = str(Path.cwd())
    private, public = caption_keys(state)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        "BONGSU_BROKER_URL": state.broker_url,
        "BONGSU_DATABASE_URL": state.database_url,
        "BONGSU_SNAPSHOT_URL": str(state.snapshots),
        "BONGSU_CAPTION_KEY": private,
        "BONGSU_CAPTION_PUBLIC_KEYS": public,
        **_push_environment(state),
        "BONGSU_SCALE_STATUS": str(state.status_file),
        "BONGSU_HTTP_HOST": options.host,
        "BONGSU_HTTP_PORT": str(options.port),
        "BONGSU_LOG_FORMAT": "json",
        # Queues by region are for deployments with several sites.
        "BONGSU_REGIONS": "",
        "BONGSU_REGION": "",
        "PROMETHEUS_MULTIPROC_DIR": str(state.prometheus),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([here, *filter(None, paths)])),
        "PYTHONUNBUFFERED": "1",
        # Without these, importing numpy, cv2 and onnxruntime starts threads, which do not survive a fork, and
        # onnxruntime (since 1.29) sends telemetry.
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _push_environment(state: State) -> Mapping[str, str]:
    """The keys that warnings by Web Push are signed with: those of the environment, else this machine's own."""
    given = {"BONGSU_PUSH_KEY", "BONGSU_PUSH_KEY_FILE", "BONGSU_PUSH_PUBLIC_KEY"} & os.environ.keys()
    if given or find_spec("http_ece") is None:
        return {}
    private, public = push_keys(state)
    # Apple's push service refuses such a contact; the others take it, and from this machine alone few need more.
    contact = os.environ.get("BONGSU_PUSH_CONTACT") or "mailto:bongsu@localhost"
    return {"BONGSU_PUSH_KEY": private, "BONGSU_PUSH_PUBLIC_KEY": public, "BONGSU_PUSH_CONTACT": contact}


async def _declare(state: State, workloads: list[Workload]) -> None:
    """Declare every queue, so that events can be routed before their function has ever run."""
    names = [MOTION, *needed_queues(workloads)]
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
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # under `nohup`, SIGHUP is ignored
            loop.add_signal_handler(signum, caught)
    return stopping, hurrying


async def _first(*waits: object) -> None:
    """Wait for the first of these; the others are cancelled, except tasks, which their creators own."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:
                task.cancel()
