"""What a machine's agent and its receive servers say to each other: MessagePack with a length, on a Unix socket."""

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
    """What it returned, or the name of the error that it raised, with its message."""

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
    """A session or a worker is no more."""

    session: str = ""
    worker: str = ""


class Listed(Struct, frozen=True, array_like=True, tag=4):
    """All that there is has been told; from here on changes are."""


Told = Answer | SessionSeen | WorkerSeen | Gone | Listed

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(Call)
_told = msgspec.msgpack.Decoder(Told)


def encode(message: Call | Told) -> bytes:
    """A message with its length before it."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4) + body


async def read_call(reader: asyncio.StreamReader) -> Call:
    """The next call.

    Raises:
        asyncio.IncompleteReadError: the connection ended.
        msgspec.DecodeError: it is none.
    """
    return _calls.decode(await _read(reader))


async def read_told(reader: asyncio.StreamReader) -> Told:
    """The next answer or change; raises as `read_call` does."""
    told: Told = _told.decode(await _read(reader))
    return told


async def _read(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(4))
    if length > _LONGEST:
        raise msgspec.DecodeError(f"a message of {length} bytes, at most {_LONGEST} are read")
    return await reader.readexactly(length)
