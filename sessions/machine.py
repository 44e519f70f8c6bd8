"""One machine as a cluster: workers are its processes, records are kept in memory; `agent.py` serves it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog
from msgspec.structs import replace

from local.process.backoff import Backoff
from local.process.child import describe_end
from local.process.fork_server import ForkServer, ForkSpec
from local.process.forked import ForkedChild
from local.process.output import Output
from sessions.backend import View
from sessions.catalogue import KINDS, resolve
from sessions.records import Capacity, ConflictError, ExistsError, NoRoomError, Session, Worker, WorkerState
from sessions.room import Room, used_by

log = structlog.get_logger()

_GRACE_S = 3.0
_PRELOADED = (
    "sessions.agent",
    "sessions.worker",
    "sessions.kinds.scalar",
    "sessions.kinds.image",
    "sessions.kinds.object",
    "models.backends.onnx",
)
"""Modules that workers share, and the main module of their agent, which multiprocessing imports again in each."""
_ENVIRONMENT = {
    "BONGSU_LOG_FORMAT": "json",
    "PYTHONUNBUFFERED": "1",
    # A worker has one client: more threads would only compete with those of other workers.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


@dataclass(slots=True)
class _Pool:
    wanted: int
    model: str
    backoff: Backoff = field(default_factory=Backoff)
    waits_until: float = 0.0


class Machine:
    """A `Backend` in this process."""

    def __init__(self, room: Room, warm: Mapping[str, int], folder: Path, output: Output, idle_s: float) -> None:
        """Prepare; nothing runs yet.

        Args:
            room: the resources for workers.
            warm: idle workers to keep, by kind.
            folder: for the sockets of workers; its path must be short.
            output: receives the output of workers.
            idle_s: how long a worker runs after its client's last message.
        """
        self.view = View()
        self._room = room
        self._pools = {kind: _Pool(wanted, resolve(kind)) for kind, wanted in warm.items() if wanted}
        self._folder = folder
        self._output = output
        self._idle_s = idle_s
        self._node = socket.gethostname()
        self._children: dict[str, ForkedChild] = {}
        # Before the fork server loads numpy, which starts threads that do not survive a fork.
        os.environ.update(_ENVIRONMENT)
        self._fork_server = ForkServer(_PRELOADED)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        self._version = 0
        self._is_open = False
        self._is_drained = False
        self._refill_at: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Fill the warm pool, and keep it filled."""
        await self._fork_server.open()
        self._is_open = True
        self._refill()

    async def close(self) -> None:
        """End all workers; returns when they have ended."""
        self._is_open = False
        if self._refill_at is not None:
            self._refill_at.cancel()
        for name in list(self._tasks):
            self._end(name)
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        await self._fork_server.close()

    async def drain(self, is_drained: bool) -> None:
        """Start no workers until this is undone; end idle ones, and have sessions go on elsewhere."""
        self._is_drained = is_drained
        log.info("machine_drained" if is_drained else "machine_undrained")
        for worker in self._staying() if is_drained else ():
            if worker.session in self.view.sessions:
                # It reports that it is leaving, and answers until its session has another worker.
                if (child := self._children.get(worker.name)) is not None:
                    child.send(signal.SIGTERM)
            else:
                self._end(worker.name)
        self._refill()
        self.view.touch()

    async def emptied(self, timeout_s: float) -> None:
        """Wait until no worker with a session is left, at most so long."""
        await self.view.until(lambda: None if any(w.session for w in self.view.workers.values()) else True, timeout_s)

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each live worker."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    async def capacity(self) -> Capacity:
        cores, memory_mb = self._used()
        return Capacity(
            node=self._node,
            cores=self._room.cores,
            memory_mb=self._room.memory_mb,
            used_cores=cores,
            used_memory_mb=memory_mb,
            classes=self._room.classes,
            has_gpu=self._room.has_gpu,
            is_drained=self._is_drained,
        )

    async def create(self, session: Session) -> Session:
        if session.id in self.view.sessions:
            raise ExistsError(session.id)
        return self._put_session(replace(session, order=self._next()))

    async def replace(self, session: Session) -> Session:
        known = self.view.sessions.get(session.id)
        if known is None or known.version != session.version:
            raise ConflictError(session.id)
        return self._put_session(session)

    async def delete(self, session_id: str) -> None:
        self.view.drop_session(session_id)
        for worker in list(self.view.workers.values()):
            if worker.session == session_id:
                self._end(worker.name)

    async def claim(self, worker: Worker, session_id: str) -> Worker:
        known = self.view.workers.get(worker.name)
        if known is None or known.version != worker.version or known not in self._idle():
            raise ConflictError(worker.name)
        claimed = self._put_worker(replace(known, session=session_id))
        self._refill()
        return claimed

    async def start(self, session: Session) -> Worker:
        name = f"{session.kind}-{session.id}-{session.restarts}"
        if (known := self.view.workers.get(name)) is not None:
            return known
        if self._is_drained or not self._make_room(session.kind):
            raise NoRoomError(f"no room for a worker of kind {session.kind}")
        return self._start(name, session.kind, session.model, session.id)

    async def stop(self, worker: str) -> None:
        self._end(worker)

    async def refresh(self, session_id: str, worker: str) -> None:
        """Does nothing: the view is always current."""

    def set_state(self, name: str, state: WorkerState) -> None:
        """Record that a worker serves now, or (`leaving`) that another process ends it."""
        if (worker := self.view.workers.get(name)) is not None:
            self._put_worker(replace(worker, state=state))

    def _start(self, name: str, kind: str, model: str, session_id: str) -> Worker:
        path = self._folder / f"{name}.sock"
        worker = self._put_worker(
            Worker(
                name=name,
                kind=kind,
                model=model,
                node=self._node,
                address=f"unix:{path}",
                started_at=datetime.now(UTC),
                session=session_id,
                classes=self._room.classes,
                has_gpu=self._room.has_gpu,
            )
        )
        arguments = (
            "--name", name, "--kind", kind, "--model", model, "--listen", str(path),
            "--notify", str(self._folder / "notify.sock"), "--idle-s", f"{self._idle_s:g}",
            "--memory-mb", f"{KINDS[kind].memory_mb:g}", "--moves",
            "--most-cores", f"{KINDS[kind].most_cores:g}",
        )  # fmt: skip
        spec = ForkSpec("sessions.worker:main", arguments, name, {}, self._output.log_file(name), _GRACE_S)
        child = ForkedChild(self._fork_server, spec, name, self._output)
        self._children[name] = child
        self._tasks[name] = asyncio.create_task(self._follow(name, child, path))
        return worker

    async def _follow(self, name: str, child: ForkedChild, path: Path) -> None:
        started_at = asyncio.get_running_loop().time()
        try:
            code, last = await child.run()
        except OSError as error:
            code, last = 1, f"could not be started: {error}"
        path.unlink(missing_ok=True)
        del self._children[name], self._tasks[name]
        worker, was_stopped = self.view.workers[name], name in self._stopping
        self._stopping.discard(name)
        if not was_stopped and code:
            log.warning("session_worker_failed", worker=name, reason=describe_end(code, last))
        is_over = was_stopped or worker.state == "leaving" or not worker.session
        if is_over or worker.session not in self.view.sessions:
            self.view.drop_worker(name)
        else:
            # The record stays visible: the keeper decides what happens to the session.
            self.set_state(name, "failed" if code else "ended")
        pool = self._pools.get(worker.kind)
        if not was_stopped and not worker.session and pool is not None:
            loop = asyncio.get_running_loop()
            pool.waits_until = loop.time() + pool.backoff.failed(loop.time() - started_at)
        self._refill()

    def _end(self, name: str) -> None:
        child = self._children.get(name)
        if child is None:
            self.view.drop_worker(name)
        elif name not in self._stopping:
            self._stopping.add(name)
            # Not SIGTERM, after which its session would go on with another worker.
            child.send(signal.SIGINT)
            asyncio.get_running_loop().call_later(_GRACE_S, child.send, signal.SIGKILL)

    def _refill(self) -> None:
        """Start missing workers of the warm pool, as far as there is room; later, if the last one has just died."""
        if not self._is_open or self._is_drained:
            return
        loop = asyncio.get_running_loop()
        for kind, pool in self._pools.items():
            idle = sum(1 for w in self._idle() if w.kind == kind and w.model == pool.model)
            for _ in range(pool.wanted - idle):
                if (delay_s := pool.waits_until - loop.time()) > 0:
                    self._refill_at = loop.call_later(delay_s + 0.01, self._refill)
                    break
                if not self._room.has_place(kind, self._used()):
                    break
                self._start(f"{kind}-{secrets.token_hex(4)}", kind, pool.model, "")

    def _make_room(self, kind: str) -> bool:
        """Whether a worker of that kind fits, after ending as many idle ones as needed."""
        idle = sorted(self._idle(), key=lambda w: (w.state == "ready", w.started_at))
        victims: list[Worker] = []
        while not self._room.has_place(kind, used_by(w for w in self._staying() if w not in victims)):
            if not idle:
                return False
            victims.append(idle.pop(0))
        for victim in victims:
            self._end(victim.name)
        return True

    def _idle(self) -> list[Worker]:
        return [w for w in self._staying() if not w.session]

    def _staying(self) -> list[Worker]:
        return [w for w in self.view.workers.values() if w.name not in self._stopping and w.state != "leaving"]

    def _used(self) -> tuple[float, float]:
        # A worker that is about to end gives its room to the next at once, because it no longer computes.
        return used_by(self._staying())

    def _put_worker(self, worker: Worker) -> Worker:
        worker = replace(worker, version=self._next())
        self.view.put(worker)
        return worker

    def _put_session(self, session: Session) -> Session:
        session = replace(session, version=self._next())
        self.view.put(session)
        return session

    def _next(self) -> int:
        self._version += 1
        return self._version
