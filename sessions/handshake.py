"""A client's WebSocket handshake in the worker: protocol, options and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

import websockets.asyncio.server as websockets
from websockets.http11 import Request as HttpRequest
from websockets.typing import Subprotocol

from sessions.channel import IN_FLIGHT_MAX, Delivery
from sessions.wire import PROTOCOLS


def choose_protocol(_: websockets.ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first protocol of the client that the worker supports; None if there is none."""
    return next((name for name in offered if name in PROTOCOLS), None)


def query_of(request: HttpRequest) -> dict[str, str]:
    """The options in the address; of a repeated one, the last."""
    return dict(parse_qsl(urlsplit(request.path).query))


def is_window(text: str) -> bool:
    """Whether a text is a valid number of requests in flight."""
    return text.isdecimal() and 1 <= int(text) <= IN_FLIGHT_MAX


def problem(reason: str, detail: str, remedy: str) -> dict[str, str]:
    """A refusal in the common format of sessions' refusals."""
    return {"reason": reason, "detail": detail, "remedy": remedy}


def why_refused(
    request: HttpRequest, session: str, resume_token: str, *, has_begun: bool, is_connected: bool
) -> tuple[int, dict[str, str]] | None:
    """Status and problem of a request that may not connect; None for one that may.

    Args:
        request: names its session in the header `X-Bongsu-Session`.
        session: the one that the worker serves; empty while it serves none.
        resume_token: the one under which results are kept.
        has_begun: whether its client has ever connected here.
        is_connected: whether the session has a connection.
    """
    asked, query = request.headers.get("X-Bongsu-Session", ""), query_of(request)
    resume = query.get("resume")
    if not asked or (session and asked != session):
        return 409, problem("taken", "this worker serves another session", "ask for a session")
    if urlsplit(request.path).path == "/adopt":
        return (
            (409, problem("connected", "this session has begun here", "nothing is left to do")) if has_begun else None
        )
    if resume and resume != resume_token:
        remedy = "connect without it and send again what was not answered"
        return 410, problem("resume_unknown", "nothing is kept under this resume token", remedy)
    if is_connected and not resume:
        remedy = "close the other connection, or take it over with its resume token"
        return 409, problem("connected", "this session is connected already", remedy)
    if query.get("delivery", "all") not in get_args(Delivery) or not is_window(query.get("in_flight", "8")):
        detail = f"delivery must be all or latest, in_flight 1 to {IN_FLIGHT_MAX}"
        return 400, problem("bad_query", detail, "connect with ?delivery=latest&in_flight=4")
    return None
