"""A client's requests and results in its worker: order, back-pressure, and results kept for a broken connection."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import structlog
from msgspec import Struct

from models.registry import ModelError
from sessions.kinds import InputError, Runner
from sessions.wire import BadMessageError, Request

log = structlog.get_logger()

Delivery = Literal["all", "latest"]
IN_FLIGHT_MAX = 64
_KEPT = 1024
"""Results that are kept after sending: a broken connection may have lost them."""
_EXPORT_BYTES = 7_000_000
"""Of the kept results that are given to another worker: less than a message may have."""
_LATENCIES = 512


@dataclass(slots=True, eq=False)
class Entry:
    """One request in the worker."""

    n: int
    given: Any
    received_at: float = field(default_factory=time.time)
    received: float = field(default_factory=time.perf_counter)
    answer: dict[str, Any] | None = None


class KeptResult(Struct, frozen=True):
    """A result that its client may not have got, as one worker gives it to the next."""

    n: int
    answer: dict[str, Any]


class Kept(Struct, frozen=True):
    """What is kept for a session, under its resume token."""

    resume: str
    results: list[KeptResult]


@dataclass(slots=True)
class Stats:
    """Statistics of a session for operators, without its content."""

    received: int = 0
    answered: int = 0
    dropped: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    """Time from receiving to sending."""

    def percentile_ms(self, share: float) -> float | None:
        """A percentile over the last messages; None before the first."""
        ordered = sorted(self.latencies_ms)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


class Channel:
    """Takes requests, has them answered one after another, and returns results in the same order."""

    def __init__(self, runner: Runner) -> None:
        self.resume_token = secrets.token_urlsafe(16)
        self.stats = Stats()
        self._runner = runner
        self._thread = ThreadPoolExecutor(1, "bongsu-session")
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._unsent: deque[Entry] = deque()
        self._unanswered: deque[Entry] = deque()
        self._in_work: Entry | None = None
        self._dropped = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def restart(self) -> None:
        """Drop all requests, because another connection starts from the beginning."""
        self._entries.clear()
        self._unsent.clear()
        self._unanswered.clear()
        self._dropped = 0
        self.resume_token = secrets.token_urlsafe(16)

    def resume(self, after: int) -> None:
        """Send all results after request `after` (0: all that are kept), including pending ones once they are done."""
        entries = list(self._entries.values())
        at = next((i + 1 for i, entry in enumerate(entries) if entry.n == after), 0)
        self._unsent = deque(entries[at:])
        self._wake()

    async def put(self, given: Request | BadMessageError, delivery: Delivery, in_flight: int) -> None:
        """Accept a request: with `all`, wait while `in_flight` are unsent; with `latest`, drop the oldest of them."""
        if (known := self._entries.get(given.n)) is not None:
            if known not in self._unsent:
                self._unsent.append(known)
                self._wake()
            return
        if delivery == "all":
            await self._until(lambda: len(self._unsent) < in_flight)
        else:
            self._drop(in_flight)
        self.stats.received += 1
        entry = Entry(given.n, None)
        if isinstance(given, Request):
            entry.given = given.given
        else:
            entry.answer = _error(given.n, str(given), given.remedy)
        self._entries[given.n] = entry
        self._unsent.append(entry)
        if entry.answer is None:
            self._unanswered.append(entry)
        self._wake()

    async def take(self) -> dict[str, Any]:
        """The next message for the client, once it is answered; sets `sent_at` when it returns."""
        await self._until(lambda: bool(self._unsent) and self._unsent[0].answer is not None)
        entry = self._unsent.popleft()
        self._trim()
        self._wake()
        assert entry.answer is not None, "waited for above"
        self.stats.answered += 1
        self.stats.latencies_ms.append((time.perf_counter() - entry.received) * 1000)
        dropped, self._dropped = self._dropped, 0
        answer = {**entry.answer, "times": {**entry.answer["times"], "sent_at": time.time()}}
        return {**answer, "dropped": dropped} if dropped else answer

    async def settled(self) -> None:
        """Wait until all accepted requests are answered and sent."""
        await self._until(lambda: not self._unsent)

    async def answered(self) -> None:
        """Wait until all accepted requests are answered, sent or not."""
        await self._until(lambda: not self._unanswered and self._in_work is None)

    def export(self) -> Kept:
        """The kept results for another worker, the newest if they are too large for one message."""
        results: deque[KeptResult] = deque()
        left = _EXPORT_BYTES
        for entry in reversed(self._entries.values()):
            if entry.answer is not None:
                result = KeptResult(entry.n, entry.answer)
                if (left := left - len(msgspec.json.encode(result))) < 0:
                    break
                results.appendleft(result)
        return Kept(self.resume_token, list(results))

    def adopt(self, kept: Kept) -> None:
        """Take over the results of another worker; repeated, it adds what that has answered since."""
        if kept.resume != self.resume_token:
            self.restart()
            self.resume_token = kept.resume
        for result in kept.results:
            self._entries.setdefault(result.n, Entry(result.n, None, answer=result.answer))

    async def work(self) -> None:
        """Answer requests, for as long as the worker runs."""
        while True:
            await self._until(lambda: bool(self._unanswered))
            entry = self._in_work = self._unanswered.popleft()
            started = time.perf_counter()
            answer = await self._answer(entry)
            done = time.perf_counter()
            entry.given = None
            entry.answer = answer | {
                "times": {
                    "received_at": entry.received_at,
                    "queued_ms": round((started - entry.received) * 1000, 3),
                    "inferred_ms": round((done - started) * 1000, 3),
                }
            }
            self._in_work = None
            self._wake()

    async def run(self, given: Any) -> dict[str, Any]:
        """Run the model, in a separate thread if it takes longer than a thread switch.

        Raises:
            InputError: it cannot be answered.
        """
        if self._runner.takes == "row":
            return self._runner.run(given)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._runner.run, given)

    async def _answer(self, entry: Entry) -> dict[str, Any]:
        try:
            return {"type": "result", "n": entry.n, "result": await self.run(entry.given)}
        except InputError as error:
            return _error(entry.n, error.reason, error.remedy)
        except ModelError as error:
            log.error("session_request_failed", reason=str(error))
            return _error(entry.n, "the model failed on this request", "send it again, or end this session")

    def _drop(self, in_flight: int) -> None:
        """Make room for the newest request; the one being answered is finished, and its result dropped."""
        while sum(1 for entry in self._unsent if entry is not self._in_work) >= in_flight:
            oldest = next(entry for entry in self._unsent if entry is not self._in_work)
            self._unsent.remove(oldest)
            self._entries.pop(oldest.n, None)
            if oldest.answer is None:
                self._unanswered.remove(oldest)
            self._dropped += 1
            self.stats.dropped += 1

    def _trim(self) -> None:
        while len(self._entries) - len(self._unsent) > _KEPT:
            self._entries.popitem(last=False)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


def _error(n: int, reason: str, remedy: str) -> dict[str, Any]:
    now = time.time()
    times = {"received_at": now, "queued_ms": 0.0, "inferred_ms": 0.0}
    return {"type": "error", "n": n, "reason": reason, "remedy": remedy, "times": times}
