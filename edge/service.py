"""Watches a fleet all the time: samples its nodes, keeps their history, and tells the API what is going on.

Run: `python -m edge.service`, or `bongsu fleet serve`; `bongsu run` starts it with `--here`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from edge import metrics
from edge.errors import FleetError
from edge.nodes import Node, NodeFile
from edge.oci.registry import opened
from edge.reports import ReportFolder
from edge.settings import FleetSettings, read_settings
from edge.status import read_camera_nodes, read_models, write_status
from edge.watch import History, Sample, sample_nodes
from functions import telemetry
from functions.stopping import stop_event
from web.fleet import ModelStatus

log = structlog.get_logger()

_LOOK_S = 0.25
"""Between two looks whether files have changed: a deployment writes as often."""
_MODELS_S = 60.0
"""A registry elsewhere tells nobody that it has changed."""


_REPORTS = 6
"""Turns for which a node's own report stands: cron sends one a minute."""


class FleetService:
    """Keeps `status.json` as the fleet is."""

    def __init__(self, settings: FleetSettings, every_s: float, is_here: bool = False) -> None:
        """Watch a fleet.

        Args:
            settings: Of the fleet.
            every_s: Seconds between two samples of each node.
            is_here: Whether this machine becomes a node, with the shipped hazard model.
        """
        self._settings = settings
        self._every_s = every_s
        self._is_here = is_here
        self._nodes = NodeFile(settings.folder)
        self._history = History(settings.folder)
        self._reports = ReportFolder(settings.folder)
        self._samples: dict[str, Sample] = {}
        self._models: list[ModelStatus] = []
        self._shown: set[str] = set()
        self._changed = asyncio.Event()
        cameras = os.environ.get("BONGSU_CAMERAS")
        self._cameras = Path(cameras) if cameras else None

    async def run(self) -> None:
        """Do it until cancelled."""
        for name in self._read_nodes():
            if last := self._history.last(name, 1):
                self._samples[name] = last[0]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_writing())
            tasks.create_task(self._keep_sampling())
            tasks.create_task(self._look_at_models())
            if self._is_here:
                tasks.create_task(self._set_up())

    async def run_once(self) -> None:
        """Sample, look at the models and write the file."""
        if self._is_here:
            await self._set_up()
        await self._sample(self._read_nodes())
        async with opened(self._settings) as registry:
            self._models = await read_models(registry)
        self._write()

    async def _set_up(self) -> None:
        from edge.shipped import set_up_here

        async with opened(self._settings) as registry:
            try:
                await set_up_here(self._settings, registry)
            except FleetError as error:
                # What runs here goes on with what it has; the next run tries again.
                log.error("fleet_not_set_up", reason=str(error))

    async def _keep_sampling(self) -> None:
        while True:
            begun = time.monotonic()
            nodes = self._read_nodes()
            await self._sample(nodes)
            self._changed.set()
            # A node that another process has just added waits for no turn.
            while time.monotonic() < begun + self._every_s and self._read_nodes().keys() <= nodes.keys():  # noqa: ASYNC110
                await asyncio.sleep(1.0)

    async def _sample(self, nodes: Mapping[str, Node]) -> None:
        for sample in map(self._or_reported, await sample_nodes(list(nodes.values()))):
            before = self._samples.get(sample.node)
            if sample.error and (before is None or not before.error):
                log.warning("node_lost", node=sample.node, reason=sample.error)
            self._samples[sample.node] = sample
            self._history.add(sample)
        awake = {name for name, node in nodes.items() if node.revoked_at is None}
        self._samples = {name: sample for name, sample in self._samples.items() if name in awake}
        metrics.show(self._samples, self._shown - self._samples.keys())
        self._shown = set(self._samples)

    def _or_reported(self, sample: Sample) -> Sample:
        """A sample, or what the node itself reported lately where SSH does not reach it."""
        if not sample.error:
            return sample
        try:
            return self._reports.newest(sample.node, within_s=_REPORTS * self._every_s) or sample
        except FleetError as error:
            log.warning("report_not_read", node=sample.node, reason=str(error))
            return sample

    async def _look_at_models(self) -> None:
        is_folder = not self._settings.is_remote
        seen: object = None
        async with opened(self._settings) as registry:
            while True:
                # The index of a folder changes with each push.
                now: object = _stamp(Path(self._settings.registry, "index.json")) if is_folder else time.monotonic()
                if now != seen:
                    try:
                        self._models = await read_models(registry)
                        seen = now
                        self._changed.set()
                    except FleetError as error:
                        log.warning("registry_not_read", reason=str(error))
                await asyncio.sleep(1.0 if is_folder else _MODELS_S)

    async def _keep_writing(self) -> None:
        seen: object = None
        while True:
            now = self._stamps()
            if now != seen or self._changed.is_set():
                self._changed.clear()
                seen = now
                try:
                    self._write()
                except OSError as error:
                    log.error("status_not_written", reason=str(error))
            await asyncio.sleep(_LOOK_S)

    def _write(self) -> None:
        cameras = read_camera_nodes(self._cameras) if self._cameras else {}
        write_status(self._settings, self._read_nodes(), self._samples, self._models, cameras)

    def _read_nodes(self) -> dict[str, Node]:
        try:
            return self._nodes.read()
        except FleetError as error:
            log.warning("nodes_not_read", reason=str(error))
            return {}

    def _stamps(self) -> list[object]:
        folder = self._settings.folder
        paths = [self._nodes.path, folder / "audit.jsonl", folder / "deployments"]
        return [_stamp(path) for path in (*paths, *([self._cameras] if self._cameras else []))]


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced or a file in a folder is."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


async def serve(settings: FleetSettings, every_s: float, is_here: bool = False) -> None:
    """Watch a fleet until SIGTERM or SIGINT."""
    stopping = stop_event()
    log.info("fleet_watched", folder=str(settings.folder), every_s=every_s)
    watching = asyncio.create_task(FleetService(settings, every_s, is_here).run())
    ended = asyncio.create_task(stopping.wait())
    await asyncio.wait([watching, ended], return_when=asyncio.FIRST_COMPLETED)
    for task in (watching, ended):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch as the environment says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edge.service", description="Watch a fleet and tell the API of it.")
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="between two samples")
    parser.add_argument("--here", action="store_true", help="make this machine a node with the shipped hazard model")
    given = parser.parse_args(arguments)
    try:
        settings = read_settings()
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        telemetry.start("fleet")
        telemetry.set_healthy(True)
        asyncio.run(serve(settings, given.every, given.here))
    except (FleetError, OSError) as error:
        print(f"bongsu fleet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
