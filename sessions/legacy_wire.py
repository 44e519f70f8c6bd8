"""The wire format of k8s-rcv-ml's clients: no numbers, no greeting, texts in JSON and pictures in base64."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection

from sessions.channel import Channel
from sessions.kinds import InputError
from sessions.wire import BadMessageError, read_legacy_picture

WINDOW = 40
"""Rows that such a client sends for each result; the first of them are answered by `Model ready`."""


async def serve(
    connection: ServerConnection, takes: str, channel: Channel, note: Callable[[], Awaitable[None]]
) -> None:
    """Answer requests one after another until the client leaves."""
    rows: deque[Any] = deque(maxlen=WINDOW)
    received = 0
    async for message in connection:
        await note()
        if takes == "picture":
            await connection.send(await _answer(channel, message))
            continue
        received += 1
        rows.append(message)
        if received == WINDOW:
            await connection.send("Model ready")
        elif received % WINDOW == 0:
            await connection.send(await _answer_row(channel, rows[-1]))


async def _answer(channel: Channel, message: str | bytes) -> str:
    try:
        return _text(await channel.run(read_legacy_picture(message)))
    except (InputError, BadMessageError) as error:
        return _text({"error": str(error), "remedy": error.remedy})


async def _answer_row(channel: Channel, message: str | bytes) -> str:
    """The result for the newest row of a window: a linear model's result for a row does not depend on the others."""
    try:
        row = msgspec.json.decode(message, type=dict[str, Any])
        return _text(await channel.run(row))
    except (msgspec.DecodeError, RecursionError) as error:
        return _text({"error": f"not a row: {error}", "remedy": 'send {"name": number, …, "timestamp": text}'})
    except InputError as error:
        return _text({"error": error.reason, "remedy": error.remedy})


def _text(result: dict[str, Any]) -> str:
    return msgspec.json.encode(result).decode()
