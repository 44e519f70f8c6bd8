"""What a client asks for when it opens its WebSocket: protocol and options, and how it is refused; for the worker."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

import websockets.asyncio.server as websockets
from websockets.http11 import Request as HttpRequest
from websockets.typing import Subprotocol

from sessions.channel import IN_FLIGHT_MAX
from sessions.wire import PROTOCOLS


def choose_protocol(_: websockets.ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first protocol that the client offers and the worker speaks; None for none."""
    return next((name for name in offered if name in PROTOCOLS), None)


def query_of(request: HttpRequest) -> dict[str, str]:
    """The options in the address; of one that is there twice, the last."""
    return dict(parse_qsl(urlsplit(request.path).query))


def is_window(text: str) -> bool:
    """Whether a text is a number of requests that may be in flight at once."""
    return text.isdecimal() and 1 <= int(text) <= IN_FLIGHT_MAX


def problem(reason: str, detail: str, remedy: str) -> dict[str, str]:
    """A refusal in the shape that all of sessions' refusals have."""
    return {"reason": reason, "detail": detail, "remedy": remedy}
