"""Messages between client and worker on the WebSocket (docs/sessions.md); the channel and tests use it."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import msgspec
from msgspec import Struct

JSON, MSGPACK = "bongsu.v1.json", "bongsu.v1.msgpack"
PROTOCOLS = (JSON, MSGPACK)
MESSAGE_BYTES = 8_000_000
"""The maximum size of a message."""
_ROW_BYTES = 65_536
_JPEG = b"\xff\xd8"

_to_json, _to_msgpack = msgspec.json.Encoder(), msgspec.msgpack.Encoder()


class Request(Struct, frozen=True):
    """One request: its number, and a row or a picture's bytes."""

    n: int
    given: Any


class Ping(Struct, frozen=True):
    """Answered at once by a pong with the same number, before waiting requests."""

    n: int


class _Body(Struct, frozen=True):
    n: int
    type: Literal["request", "ping"] = "request"
    row: Any = None
    picture: bytes | None = None


_json, _msgpack = msgspec.json.Decoder(_Body), msgspec.msgpack.Decoder(_Body)


class BadMessageError(ValueError):
    """A message that cannot be read; it has the request's number if that could be read."""

    def __init__(self, reason: str, remedy: str, n: int = -1) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.n = reason, remedy, n


def read(message: str | bytes, protocol: str, takes: str, next_number: int) -> Request | Ping:
    """Read a client's message.

    Args:
        message: the received text or bytes.
        protocol: one of `PROTOCOLS`.
        takes: the input of the session's kind, `row` or `picture`.
        next_number: for a picture without a number.

    Raises:
        BadMessageError: it is invalid.
    """
    if isinstance(message, bytes) and protocol == JSON:
        return _read_picture(message, takes, next_number)
    body = _decode(message, protocol)
    if body.type == "ping":
        return Ping(body.n)
    if body.n < 1:
        raise BadMessageError(f"n is {body.n}", "number requests from 1")
    given = body.picture if takes == "picture" else body.row
    if given is None:
        raise BadMessageError(f"no {takes}: this session takes one in each request", _example(takes, protocol), body.n)
    if takes == "row" and len(message) > _ROW_BYTES:
        raise BadMessageError(f"a row of {len(message)} bytes", f"send at most {_ROW_BYTES} bytes", body.n)
    return Request(body.n, given)


def write(message: dict[str, Any], protocol: str) -> str | bytes:
    """Encode a message to a client: text in JSON, or bytes in MessagePack."""
    return _to_msgpack.encode(message) if protocol == MSGPACK else _to_json.encode(message).decode()


def picture_frame(n: int, jpeg: bytes) -> bytes:
    """A picture as a JSON client sends it: its number in four bytes, big-endian, and the JPEG."""
    return n.to_bytes(4) + jpeg


def _read_picture(message: bytes, takes: str, next_number: int) -> Request:
    if takes != "picture":
        raise BadMessageError("bytes, but this session takes rows", _example("row", JSON))
    if message[:2] == _JPEG:
        return Request(next_number, message)
    n, jpeg = int.from_bytes(message[:4]), message[4:]
    if jpeg[:2] != _JPEG:
        raise BadMessageError("bytes that are neither a JPEG nor a number and a JPEG", _example("picture", JSON), n)
    return Request(n, jpeg)


def _decode(message: str | bytes, protocol: str) -> _Body:
    try:
        if protocol == MSGPACK and isinstance(message, bytes):
            return _msgpack.decode(message)
        if protocol == JSON and isinstance(message, str):
            return _json.decode(message)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadMessageError(f"not a message of {protocol}: {error}", _example("row", protocol)) from None
    raise BadMessageError("text, but this connection speaks MessagePack", "send bytes, or connect with bongsu.v1.json")


def _example(takes: str, protocol: str) -> str:
    if takes == "row":
        return 'send {"n": 1, "row": [numbers]}'
    if protocol == MSGPACK:
        return 'send {"n": 1, "picture": bytes of a JPEG}'
    return "send a JPEG as bytes, or a number in four bytes (the highest first) and a JPEG"


def read_legacy_picture(message: str | bytes) -> bytes:
    """Read the picture of a client of k8s-rcv-ml: `{"data": base64, "timestamp": …}`.

    Raises:
        BadMessageError: it is invalid.
    """
    try:
        return base64.b64decode(msgspec.json.decode(message, type=dict[str, str])["data"], validate=True)
    except (msgspec.DecodeError, RecursionError, KeyError, binascii.Error, ValueError) as error:
        raise BadMessageError(f"not a picture: {error}", 'send {"data": base64 of a JPEG, "timestamp": text}') from None
