"""The end of a worker whose session goes on: its results are handed to the next worker, and its client is sent there.

A worker that is stopped (its node is drained) goes on serving until a receive server has found the next worker. Then
the receive server gives the results from here to the next worker, and has this one send the client there. The same is
done to a worker that is not stopped, if its session comes home to another receive server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import websockets.asyncio.server as websockets
from websockets.exceptions import ConnectionClosed

from sessions.channel import Channel
from sessions.wire import JSON, write

LEAVING, MOVING = 1001, 1012
"""Close codes of connections."""
_SETTLE_S = 10.0
_NEXT_S = 15.0
"""How long a stopped worker waits for the next one; with `_SETTLE_S`, less than the pod's grace period of 30 s."""
_HOLD_S = 20.0
"""A worker that has handed its results over accepts messages again, if its client is not moved for so long."""
_REPEAT = "and repeat what was not answered"


class Departure:
    """Parts a worker from its session."""

    def __init__(
        self, channel: Channel, connection: Callable[[], websockets.ServerConnection | None], *, moves: bool
    ) -> None:
        """Prepare; nothing happens yet.

        Args:
            channel: has the requests and results.
            connection: the client's connection, if there is one now.
            moves: whether its session goes on elsewhere when the worker is stopped.
        """
        self.is_leaving = False
        """Whether messages are no longer accepted: the client repeats them to the next worker."""
        self.ended = asyncio.Event()
        """Set once nothing is left to do for the session."""
        self._channel, self._connection, self._moves = channel, connection, moves
        self._is_stopping = False
        self._moving: asyncio.Task[None] | None = None
        self._held: asyncio.TimerHandle | None = None
        self._accepts = asyncio.Event()
        self._accepts.set()

    def end(self) -> None:
        """Note that the session has ended, so that it does not go on elsewhere."""
        self._moves = False
        if self._is_stopping:
            self.ended.set()

    async def accepts(self) -> bool:
        """Whether a message is accepted; after its results were handed over, once it is certain where they are used."""
        await self._accepts.wait()
        return not self.is_leaving

    async def hand_over(self, *, stays: bool) -> str:
        """Accept nothing more, and answer what was accepted; returns the results as JSON.

        Args:
            stays: whether the worker goes on with its session if its client is not moved: messages wait meanwhile.
        """
        if stays:
            self._hold()
        else:
            # The signal to stop may come later than this, because the cluster tells receive servers first.
            self._is_stopping = True
            self._leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                await self._channel.answered()
        return msgspec.json.encode(self._channel.export()).decode()

    def move(self, url: str, token: str, *, is_handed_over: bool) -> bool:
        """Begin to send the client to another address, or to another worker; returns whether there is a client.

        Args:
            url: where it goes on; empty: at the address that it used.
            token: its token there; empty: the one that it has.
            is_handed_over: whether the next worker has the results, under the same resume token.
        """
        connection = self._connection()
        if connection is None:
            if self._is_stopping:
                self.ended.set()
            return False
        if self._moving is None:
            goal = {"url": url or _url_of(connection)} | ({"token": token} if token else {})
            if is_handed_over:
                goal["resume"] = self._channel.resume_token
            remedy = "connect to url with token" + (" and resume, " if is_handed_over else ", ") + _REPEAT
            self._moving = asyncio.create_task(self._move(connection, {**goal, "remedy": remedy}))
            self._moving.add_done_callback(lambda _: self.ended.set())
        return True

    async def leave(self, session: str) -> None:
        """Close the connection, because the worker must end.

        Args:
            session: the worker's; empty: it has served none.
        """
        if session and self._moves and not self.ended.is_set():
            self._is_stopping = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEXT_S):
                    await self.ended.wait()
        if self._moving is not None:
            await self._moving
        connection = self._connection()
        if connection is None:
            return
        if not self._moves:
            await connection.close(LEAVING, "this session has ended")
            return
        await self._move(
            connection, {"url": _url_of(connection), "remedy": f"connect to the same url again, {_REPEAT}"}
        )

    def _hold(self) -> None:
        self._release()
        self._accepts.clear()
        self._held = asyncio.get_running_loop().call_later(_HOLD_S, self._release)

    def _release(self) -> None:
        if self._held is not None:
            self._held.cancel()
        self._accepts.set()

    def _leave(self) -> None:
        self.is_leaving = True
        self._release()

    async def _move(self, connection: websockets.ServerConnection, goal: dict[str, str]) -> None:
        self._leave()
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(_SETTLE_S):
                await self._channel.settled()
            if connection.request is not None and connection.request.headers.get("X-Bongsu-Wire") != "legacy":
                await connection.send(write({"type": "moving", **goal}, str(connection.subprotocol or JSON)))
        await connection.close(MOVING, "this session moves to another worker")


def _url_of(connection: websockets.ServerConnection) -> str:
    """The address that the client used, as far as its request says it."""
    request = connection.request
    assert request is not None, "the handshake is done"
    scheme = "wss" if request.headers.get("X-Forwarded-Proto", "") in ("https", "wss") else "ws"
    return f"{scheme}://{request.headers.get('Host', 'localhost')}{urlsplit(request.path).path}"
