"""Where the API meets the functions: publishes requests to hooks, and keeps what is answered for its caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import msgspec
import structlog
from prometheus_client import Counter

from functions.backoff import backoff_s
from functions.broker import Broker, BrokerError, Consumer, Delivery, connect
from functions.event import Answered, DecodeError, HttpRequest, decode, encode
from functions.hook import RESULTS, Hook
from functions.topology import queues
from store import Store, StoreError
from store.records import Request
from web.background import in_background
from web.limits import Buckets

log = structlog.get_logger()

requests_total = Counter("bongsu_hook_requests_total", "Requests to hooks, by what became of them", ["hook", "outcome"])
answers_total = Counter("bongsu_hook_answers_total", "Answers of functions, by how they ended", ["hook", "state"])

WAIT_MAX_S = 30.0
"""The longest that a request may wait for its answer."""
_WAITING_MAX = 200
"""Requests that wait at once; further ones get their address at once."""
_LOOK_S = 0.5
"""The answer may come to another replica of the API, which writes it to the database alone."""
_PREFETCH = 16
_PRUNE_S = 3600.0
_AGAIN_S = 2.0


class HookGateway:
    """The hooks of this site. Enter `running` before the first request."""

    def __init__(self, hooks: Sequence[Hook], store: Store, broker_url: str, keep: timedelta) -> None:
        """Serve these hooks.

        Args:
            hooks: one for each address.
            store: keeps requests and their answers.
            broker_url: where the functions read; not used where there are no hooks.
            keep: how long a request and its answer are kept.
        """
        self._hooks = {hook.name: hook for hook in hooks}
        self._rates = {hook.name: Buckets(hook.rate) for hook in hooks}
        self._store = store
        self._broker_url = broker_url
        self.keep = keep
        self._broker: Broker | None = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[str, asyncio.Event] = {}
        self._is_leaving = False

    def find(self, name: str) -> Hook | None:
        """The hook of that name."""
        return self._hooks.get(name)

    def take(self, hook: Hook, client: str) -> float:
        """Count a request; 0 if it may pass, or else the seconds until one may."""
        return self._rates[hook.name].take(client)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take answers, and forget old requests, while this is open."""
        if not self._hooks:
            yield
            return
        try:
            async with in_background("answers", self._take_answers()), in_background("requests", self._forget()):
                yield
        finally:
            if self._broker is not None:
                with contextlib.suppress(BrokerError, OSError):
                    await self._broker.close()

    async def publish(self, request: HttpRequest) -> None:
        """Hand a request over to its function.

        Raises:
            Unroutable: no function takes it.
            TooLarge: the broker takes no message of this size.
            BrokerError: not kept, or not known to be; the same again does no harm.
        """
        broker = await self._connected()
        await broker.publish(encode(request))

    async def wait(self, id_: str, seconds: float) -> Request | None:
        """The request once it is answered, or as it is after so many seconds; None where it was forgotten.

        Raises:
            StoreError: the database is not available.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + min(seconds, WAIT_MAX_S)
        news = self._waiting.setdefault(id_, asyncio.Event())
        try:
            while True:
                found = await self._store.requests.get(id_)
                left = until - loop.time()
                if found is None or found.is_answered or left <= 0 or self._is_leaving:
                    return found
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK_S)):
                        await news.wait()
                news.clear()
        finally:
            self._waiting.pop(id_, None)

    @property
    def is_full(self) -> bool:
        """Whether as many requests wait as may."""
        return len(self._waiting) >= _WAITING_MAX

    def end_waits(self) -> None:
        """End all waits, as the process is leaving."""
        self._is_leaving = True
        for news in self._waiting.values():
            news.set()

    async def _connected(self) -> Broker:
        async with self._connecting:
            if self._broker is None:
                self._broker = await connect(self._broker_url)
            return self._broker

    async def _take_answers(self) -> None:
        lost = 0
        while True:
            try:
                broker = await self._connected()
                await broker.ensure(queues([RESULTS]))
                async with broker.consume([RESULTS], prefetch=_PREFETCH) as consumer:
                    lost = 0
                    await self._keep_all(consumer)
            except BrokerError as error:
                lost += 1
                log.warning("broker_unavailable", reason=str(error), attempt=lost)
                await asyncio.sleep(backoff_s(lost, first_s=0.5, longest_s=10.0))

    async def _keep_all(self, consumer: Consumer) -> None:
        while True:
            if (delivery := await consumer.get()) is not None:
                await self._keep(delivery)

    async def _keep(self, delivery: Delivery) -> None:
        try:
            answered = decode(delivery.message.body)
        except DecodeError as error:
            await delivery.reject(str(error))
            return
        if not isinstance(answered, Answered):
            await delivery.reject(f"an answer must be of type 'answered', got {answered.type!r}")
            return
        answered = _usable(answered)
        while not await self._stored(answered):  # noqa: ASYNC110 - it waits for a database
            await asyncio.sleep(_AGAIN_S)
        await delivery.ack()
        if answered.hook in self._hooks:
            answers_total.labels(answered.hook, answered.state).inc()
        if (news := self._waiting.get(answered.id)) is not None:
            news.set()

    async def _stored(self, answered: Answered) -> bool:
        try:
            is_known = await self._store.requests.answer(
                answered.id,
                state=answered.state,
                result=answered.result.decode(),
                reason=answered.reason,
                answered_at=answered.answered_at,
            )
        except StoreError as error:
            log.warning("answer_waits", event_id=answered.id, reason=str(error))
            return False
        if not is_known:
            log.info("answer_too_late", event_id=answered.id, hook=answered.hook)
        return True

    async def _forget(self) -> None:
        while True:
            try:
                if forgotten := await self._store.requests.prune():
                    log.info("requests_pruned", deleted=forgotten)
            except StoreError as error:
                log.warning("requests_not_pruned", reason=str(error))
            await asyncio.sleep(_PRUNE_S)


def _usable(answered: Answered) -> Answered:
    """The answer, or a failure where its result is not JSON, as that of a function in another language may be."""
    try:
        msgspec.json.decode(answered.result)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        log.warning("answer_unusable", event_id=answered.id, hook=answered.hook, reason=str(error))
        reason = f"the function's result is not JSON: {error}"
        return msgspec.structs.replace(answered, state="failed", result=b"null", reason=reason)
    return answered
