"""Messages between a machine's agent and its receive servers: length-prefixed MessagePack on a Unix socket."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Struct

from sessions.records import Session, Worker

_LONGEST = 16_000_000


class Call(Struct, frozen=True, array_like=True):
    """A method of `Backend`, with its arguments."""

    id: int
    method: str
    arguments: list[Any]


class Answer(Struct, frozen=True, array_like=True, tag=0):
    """A call's result, or the name and message of the error that it raised."""

    id: int
    result: Any = None
    error: str = ""


class SessionSeen(Struct, frozen=True, array_like=True, tag=1):
    """A session is new or has changed."""

    session: Session


class WorkerSeen(Struct, frozen=True, array_like=True, tag=2):
    """A worker is new or has changed."""

    worker: Worker


class Gone(Struct, frozen=True, array_like=True, tag=3):
    """A session or a worker no longer exists."""

    session: str = ""
    worker: str = ""


class Listed(Struct, frozen=True, array_like=True, tag=4):
    """The complete state has been sent; only changes follow."""


Message = Answer | SessionSeen | WorkerSeen | Gone | Listed

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(Call)
_messages = msgspec.msgpack.Decoder(Message)


def encode(message: Call | Message) -> bytes:
    """A message with its length in front."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4) + body


async def read_call(reader: asyncio.StreamReader) -> Call:
    """The next call.

    Raises:
        asyncio.IncompleteReadError: the connection ended.
        msgspec.DecodeError: it is not a call.
    """
    return _calls.decode(await _read(reader))


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next answer or change; raises as `read_call` does."""
    message: Message = _messages.decode(await _read(reader))
    return message


async def _read(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(4))
    if length > _LONGEST:
        raise msgspec.DecodeError(f"a message of {length} bytes, at most {_LONGEST} are read")
    return await reader.readexactly(length)
