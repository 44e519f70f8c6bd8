"""Facts that are not about a camera: somebody's request, what a function answered, and the time that came."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import Literal, TypeVar

import msgspec
from msgspec import field

from functions.event.facts import Event, require_type
from functions.event.parts import require_utc

_T = TypeVar("_T")

HOOK = "hook-"
"""What the type of a request begins with: `hook-report` is a request to /hooks/report."""
TICK = "tick-"
"""What the type of a tick begins with: `tick-nightly` is a tick of the schedule `nightly`."""


class HttpRequest(Event, frozen=True, kw_only=True, tag=False):
    """Somebody sent a request to /hooks/NAME; `type` is `hook-NAME`. The API publishes it, `@on.http` takes it."""

    type: str
    hook: str
    """The name in the address."""
    received_at: datetime
    """When the API took it (UTC)."""
    body: bytes = b""
    content_type: str = "application/json"
    """Without parameters, in lower case."""
    caller: str | None = None
    """Name of the key that it came with; None where it came without one."""
    query: dict[str, str] = field(default_factory=dict)
    """What stood after the `?`; of a name that came twice, the last."""

    def __post_init__(self) -> None:
        Event.__post_init__(self)
        require_type(self.type)
        if self.type != f"{HOOK}{self.hook}":
            raise ValueError(f"type must be {HOOK}{self.hook} for the hook {self.hook!r}, got {self.type!r}")
        require_utc("received_at", self.received_at)

    @property
    def subject(self) -> str:
        """The hook's name."""
        return self.hook

    @property
    def time(self) -> datetime:
        """When the API took it (UTC)."""
        return self.received_at

    def json(self, kind: builtins.type[_T]) -> _T:
        """The body, read as JSON.

        Args:
            kind: what it is to be, such as a msgspec Struct or `dict[str, int]`.

        Raises:
            Reject: it is not; the caller reads why.
        """
        from functions.function import Reject

        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Reject(f"the body cannot be used: {error}") from error


class Answered(Event, frozen=True, kw_only=True, tag="answered"):
    """What became of a request; its `id` is the request's. The API keeps it for the caller."""

    hook: str
    answered_at: datetime
    state: Literal["done", "failed"]
    result: bytes = b"null"
    """What the handler returned, as JSON; `null` where it failed."""
    reason: str = ""
    """Why it failed."""

    def __post_init__(self) -> None:
        Event.__post_init__(self)
        require_utc("answered_at", self.answered_at)

    @property
    def subject(self) -> str:
        """The hook's name."""
        return self.hook

    @property
    def time(self) -> datetime:
        """When it was answered (UTC)."""
        return self.answered_at


class Tick(Event, frozen=True, kw_only=True, tag=False):
    """The time of a schedule came; `type` is `tick-NAME`. Its `id` is made of both, so a tick has one event."""

    type: str
    schedule: str
    """The schedule's name: that of its handler."""
    due_at: datetime
    """The time of the schedule (UTC), not that of its publication."""

    def __post_init__(self) -> None:
        Event.__post_init__(self)
        require_type(self.type)
        if self.type != f"{TICK}{self.schedule}":
            raise ValueError(
                f"type must be {TICK}{self.schedule} for the schedule {self.schedule!r}, got {self.type!r}"
            )
        require_utc("due_at", self.due_at)

    @property
    def subject(self) -> str:
        """The schedule's name."""
        return self.schedule

    @property
    def time(self) -> datetime:
        """When it was due (UTC)."""
        return self.due_at


FAMILIES: dict[str, type[Event]] = {HOOK: HttpRequest, TICK: Tick}
"""The class of types by what they begin with; each such type is somebody's own."""
