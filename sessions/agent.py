"""The agent of a machine: runs its workers and keeps its records, for any number of receive servers.

`python -m sessions.agent` runs it. It keeps running when receive servers end; its workers always end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from functions import telemetry
from functions.settings import SettingsError
from functions.stopping import stop_event
from local.process.output import Output
from sessions import frames, settings
from sessions.backend import View
from sessions.frames import Answer, Call, Gone, Listed, Message, SessionSeen, WorkerSeen
from sessions.machine import Machine
from sessions.records import ConflictError, ExistsError, NoRoomError, Session, Worker
from sessions.room import Room
from sessions.settings import Settings

log = structlog.get_logger()

_UNREAD_BYTES = 32_000_000
"""A receive server with this much unread data is disconnected; it lists everything again after it reconnects."""
_MOVE_S = 30.0
"""How long sessions may take to move to upstream servers; `local/sessions.py` waits a little longer."""

_ARGUMENTS: dict[str, tuple[type, ...]] = {
    "capacity": (),
    "create": (Session,),
    "replace": (Session,),
    "delete": (str,),
    "claim": (Worker, str),
    "start": (Session,),
    "stop": (str,),
    "drain": (bool,),
}
"""The methods of `Backend` that may be called."""


class _Watch:
    """Sends a receive server all changes and the results of its calls, in order."""

    def __init__(self, view: View, writer: asyncio.StreamWriter) -> None:
        self._view = view
        self._writer = writer
        self._sessions: dict[str, int] = {}
        self._workers: dict[str, int] = {}

    def send_changes(self) -> None:
        """Send the changes that it has not received yet."""
        for session in self._view.sessions.values():
            if self._sessions.get(session.id) != session.version:
                self._sessions[session.id] = session.version
                self._write(SessionSeen(session))
        for worker in self._view.workers.values():
            if self._workers.get(worker.name) != worker.version:
                self._workers[worker.name] = worker.version
                self._write(WorkerSeen(worker))
        for gone in [known for known in self._sessions if known not in self._view.sessions]:
            del self._sessions[gone]
            self._write(Gone(session=gone))
        for gone in [known for known in self._workers if known not in self._view.workers]:
            del self._workers[gone]
            self._write(Gone(worker=gone))

    def answer(self, answer: Answer) -> None:
        """Answer a call, after the changes that it made."""
        self.send_changes()
        self._write(answer)

    def begin(self) -> None:
        """Send the complete state."""
        self.send_changes()
        self._write(Listed())

    def _write(self, message: Message) -> None:
        if self._writer.transport.get_write_buffer_size() > _UNREAD_BYTES:
            self._writer.transport.abort()
        elif not self._writer.is_closing():
            self._writer.write(frames.encode(message))


class Agent:
    """Serves receive servers of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.served = 0
        """Number of receive servers that are connected now."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one receive server until it disconnects."""
        self.served += 1
        watch = _Watch(self._machine.view, writer)
        watch.begin()
        sending = asyncio.create_task(self._send_changes(watch))
        try:
            while True:
                call = await frames.read_call(reader)
                watch.answer(await self._do(call))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except msgspec.DecodeError as error:
            log.warning("agent_call_unreadable", reason=str(error), fix="run the same version of agent and server")
        finally:
            self.served -= 1
            sending.cancel()
            writer.close()

    async def _send_changes(self, watch: _Watch) -> None:
        while True:
            if await self._machine.view.changed(60.0):
                watch.send_changes()

    async def _do(self, call: Call) -> Answer:
        try:
            return Answer(call.id, await self._call(call.method, call.arguments))
        except (ConflictError, ExistsError, NoRoomError, msgspec.ValidationError, ValueError) as error:
            return Answer(call.id, str(error), type(error).__name__)

    async def _call(self, method: str, arguments: list[Any]) -> Any:
        types = _ARGUMENTS.get(method)
        if types is None or len(types) != len(arguments):
            raise ValueError(f"no method {method!r} with {len(arguments)} arguments")
        given: list[Any] = [msgspec.convert(value, kind) for value, kind in zip(arguments, types, strict=True)]
        return await getattr(self._machine, method)(*given)


@contextlib.asynccontextmanager
async def running(config: Settings) -> AsyncIterator[tuple[Machine, Agent]]:
    """Run the machine and serve it.

    Raises:
        SettingsError: another agent runs on the same state.
    """
    state = Path(config.sessions_state).absolute()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    logs = state / "logs"
    logs.mkdir(exist_ok=True)
    with _lock(state / "agent.lock"):
        folder = _socket_folder(state / "sockets")
        for old in logs.glob("*.log*"):
            old.unlink(missing_ok=True)
        warm = settings.counts("BONGSU_SESSIONS_WARM", config.sessions_warm)
        machine = Machine(Room.of(config), warm, folder, Output(logs), config.sessions_idle_s)
        try:
            with _ready_socket(folder / "notify.sock", machine):
                await machine.open()
                config.socket.unlink(missing_ok=True)
                before, agent = os.umask(0o177), Agent(machine)
                try:
                    server = await asyncio.start_unix_server(agent.serve, config.socket, backlog=256)
                finally:
                    os.umask(before)
                try:
                    yield machine, agent
                finally:
                    server.close()
                    await machine.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            (state / "sockets").unlink(missing_ok=True)


def _socket_folder(link: Path) -> Path:
    """Create a folder for sockets: their paths must be short, and the state folder's may be long.

    Args:
        link: a link to it, by which the next agent finds and removes the folder of one that was killed.
    """
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()
    folder = Path(tempfile.mkdtemp(prefix="bongsu-sessions-"))
    link.symlink_to(folder)
    return folder


@contextlib.contextmanager
def _lock(path: Path) -> Any:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"BONGSU_SESSIONS_STATE: another agent runs on {path.parent}: stop it or choose another folder"
            ) from None
        yield


@contextlib.contextmanager
def _ready_socket(path: Path, machine: Machine) -> Any:
    """The socket on which workers report, as with systemd's sd_notify: `READY=1` or `STOPPING=1`, and their name."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.setblocking(False)

        def read() -> None:
            with contextlib.suppress(BlockingIOError):
                lines = dict(line.split("=", 1) for line in notify.recv(4096).decode().splitlines() if "=" in line)
                name = lines.get("NAME", "")
                if lines.get("READY") == "1":
                    machine.set_state(name, "ready")
                elif lines.get("STOPPING") == "1":
                    machine.set_state(name, "leaving")

        loop.add_reader(notify, read)
        try:
            yield
        finally:
            loop.remove_reader(notify)


async def _serve(config: Settings) -> None:
    stopping = stop_event()
    async with running(config) as (machine, agent):
        capacity = await machine.capacity()
        log.info("agent_started", cores=capacity.cores, memory_mb=round(capacity.memory_mb), socket=str(config.socket))
        await stopping.wait()
        if agent.served and config.sessions_upstream:
            # Receive servers bring sessions to their upstream servers meanwhile.
            await machine.drain(True)
            await machine.emptied(_MOVE_S)


def main() -> int:
    """Run until SIGTERM or SIGINT; returns the exit status."""
    try:
        config = settings.load()
        telemetry.start("sessions-agent")
        # `bongsu run` keeps metrics files for each process name, and the number of workers' names is unlimited.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        asyncio.run(_serve(config))
    except (SettingsError, OSError) as error:
        print(f"bongsu sessions agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
