"""The common format of all refusals: a reason for programs, a sentence for people, and a remedy."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from web.guard import RefusedError


class Problem(Struct, frozen=True):
    """The body of every answer from 400 on.

    Attributes:
        reason: one of a fixed set of words, for programs.
        detail: what was wrong, with the value.
        remedy: what to do about it.
    """

    reason: str
    detail: str
    remedy: str


class ProblemError(Exception):
    """The request is refused with this answer."""

    def __init__(
        self, status: int, reason: str, detail: str, remedy: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(reason, detail, remedy)
        self.headers = headers

    def answer(self) -> Response:
        """The answer for the client."""
        body = msgspec.json.encode(self.problem)
        return Response(body, self.status, self.headers, media_type="application/json")


_REMEDIES = {
    400: ("bad_request", "docs/sessions.md describes the request"),
    404: ("not_found", "the paths are /sessions, /sessions/ID and /s/ID"),
    405: ("method", "use a method in the Allow header"),
    413: ("too_large", "shorten the body"),
    415: ("content_type", "send JSON with Content-Type: application/json"),
    422: ("invalid", "correct the body"),
}


async def answer_problem(_: Request, error: Exception) -> Response:
    """The answer for a `ProblemError`."""
    assert isinstance(error, ProblemError)
    return error.answer()


async def answer_http(_: Request, error: Exception) -> Response:
    """The answer for errors of the framework and of `web/answers.py`."""
    assert isinstance(error, HTTPException)
    reason, remedy = _REMEDIES.get(error.status_code, ("refused", "see docs/sessions.md"))
    headers = dict(error.headers) if error.headers else None
    return ProblemError(error.status_code, reason, str(error.detail), remedy, headers).answer()


def answer_refused(error: RefusedError) -> Response:
    """The answer for a refusal of the guard; its remedy follows a colon."""
    detail, _, remedy = error.detail.partition(": ")
    return ProblemError(error.status, error.reason, detail, remedy or "ask the operator", error.headers).answer()


def not_found(session_id: str) -> ProblemError:
    """There is no such session, or the caller may not see it."""
    return ProblemError(
        404, "not_found", f"no session {session_id[:80]!r}: it has ended, or never existed",
        "ask for a session with POST /sessions",
    )  # fmt: skip
