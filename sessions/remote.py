"""The machine's agent as a receive server's `Backend`: calls over its Unix socket, and a view kept current by it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from functions.backoff import backoff_s
from sessions import frames
from sessions.backend import View
from sessions.frames import Answer, Call, Gone, SessionSeen, WorkerSeen
from sessions.records import BackendError, Capacity, ConflictError, ExistsError, NoRoomError, Session, Worker

log = structlog.get_logger()

_ANSWER_S = 10.0
_ERRORS = {error.__name__: error for error in (ConflictError, ExistsError, NoRoomError)}


class AgentClient:
    """One connection to the agent, opened again when it breaks."""

    def __init__(self, path: Path) -> None:
        self.view = View()
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._ids = itertools.count()
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._listed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[AgentClient]:
        """Stay connected while this context is open."""
        task = asyncio.create_task(self._stay_connected(), name="agent-connection")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def is_connected(self) -> bool:
        """Whether the view is from a running agent."""
        return self._listed.is_set()

    async def capacity(self) -> Capacity:
        return msgspec.convert(await self._call("capacity"), Capacity)

    async def create(self, session: Session) -> Session:
        return msgspec.convert(await self._call("create", session), Session)

    async def replace(self, session: Session) -> Session:
        return msgspec.convert(await self._call("replace", session), Session)

    async def delete(self, session_id: str) -> None:
        await self._call("delete", session_id)

    async def claim(self, worker: Worker, session_id: str) -> Worker:
        return msgspec.convert(await self._call("claim", worker, session_id), Worker)

    async def start(self, session: Session) -> Worker:
        return msgspec.convert(await self._call("start", session), Worker)

    async def stop(self, worker: str) -> None:
        await self._call("stop", worker)

    async def drain(self, is_drained: bool) -> None:
        await self._call("drain", is_drained)

    async def refresh(self, session_id: str, worker: str) -> None:
        """Does nothing: one connection delivers all changes in order."""

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(_ANSWER_S):
                # A restarted agent is back within a second: calls meanwhile wait for it.
                await self._listed.wait()
                answer = await self._ask(method, list(arguments))
        except TimeoutError:
            raise BackendError(f"the agent at {self._path} has not answered in {_ANSWER_S:.0f} s") from None
        if answer.error:
            raise _ERRORS.get(answer.error, BackendError)(str(answer.result))
        return answer.result

    async def _ask(self, method: str, arguments: list[Any]) -> Answer:
        if self._writer is None:
            raise BackendError(f"no agent at {self._path}: start it with python -m sessions.agent")
        id_ = next(self._ids)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls[id_] = waiting
        try:
            self._writer.write(frames.encode(Call(id_, method, arguments)))
            return await waiting
        finally:
            del self._calls[id_]

    async def _stay_connected(self) -> None:
        for attempt in itertools.count():
            try:
                await self._live()
            except (OSError, asyncio.IncompleteReadError, msgspec.DecodeError) as error:
                log.warning("agent_lost", reason=f"{type(error).__name__}: {error}", socket=str(self._path))
            finally:
                self._lose()
            await asyncio.sleep(backoff_s(min(attempt, 3), first_s=0.1, longest_s=1.0))

    async def _live(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self._path)
        while True:
            message = await frames.read_message(reader)
            match message:
                case Answer():
                    if (waiting := self._calls.get(message.id)) is not None and not waiting.done():
                        waiting.set_result(message)
                case SessionSeen():
                    self.view.put(message.session)
                case WorkerSeen():
                    self.view.put(message.worker)
                case Gone():
                    if message.session:
                        self.view.drop_session(message.session)
                    else:
                        self.view.drop_worker(message.worker)
                case _:
                    self._listed.set()

    def _lose(self) -> None:
        self._listed.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(BackendError("the agent disconnected before it answered"))
        self.view.clear()
