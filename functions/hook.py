"""What `@on.http` declares: an address of the API, who may use it, and the handler's result as an event."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, get_args

import msgspec

from functions.event import Answered, Event, HttpRequest, utc_now
from functions.event.requests import HOOK

PREFIX = "/hooks/"
RESULTS = "answered.api"
"""The queue of what functions answered; the API drains it."""
BODY_MAX = 8_000_000
RESULT_MAX = 1_000_000
Access = Literal["operator", "key", "open"]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+*-]+")


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One address: what the API must know of it, as `BONGSU_HOOKS` tells it."""

    name: str
    access: Access = "operator"
    """Whose key it takes: an operator's, any of the API's, or none."""
    rate: float = 60.0
    """Requests a minute from one address or key; 0 means unlimited."""
    body_max: int = 65_536
    """Bytes of a body, 8,000,000 at most."""
    content_types: tuple[str, ...] = ("application/json",)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a hook's name must match {_NAME.pattern}, got {self.name!r:.80}")
        if self.access not in get_args(Access):
            raise ValueError(
                f"hook {self.name}: access must be one of {', '.join(get_args(Access))}, got {self.access!r}"
            )
        if not 0 <= self.rate < 1e9:
            raise ValueError(f"hook {self.name}: rate must be requests a minute, or 0 for no limit, got {self.rate}")
        if not 0 < self.body_max <= BODY_MAX:
            raise ValueError(f"hook {self.name}: body_max must be 1 to {BODY_MAX} bytes, got {self.body_max}")
        wrong = [kind for kind in self.content_types if not _MEDIA_TYPE.fullmatch(kind)]
        if wrong or not self.content_types:
            raise ValueError(f"hook {self.name}: content_types must be like application/json, got {wrong or '()'}")

    @property
    def path(self) -> str:
        """The address, without the host."""
        return PREFIX + self.name

    @property
    def type(self) -> str:
        """The type of its events: their routing key."""
        return HOOK + self.name


def hook_at(path: str, **options: Any) -> Hook:
    """The hook of a path such as `/hooks/report`.

    Raises:
        ValueError: the path or an option cannot be used.
    """
    name = path.removeprefix(PREFIX)
    if name == path or not _NAME.fullmatch(name):
        raise ValueError(f"path must be {PREFIX}NAME, NAME of lower case letters, digits and -, got {path!r:.80}")
    return Hook(name, **options)


def read_hooks(text: str) -> tuple[Hook, ...]:
    """The hooks of `BONGSU_HOOKS`; empty for an empty text.

    Raises:
        ValueError: it is not a JSON list of hooks, or a name comes twice.
    """
    if not text.strip():
        return ()
    try:
        hooks = msgspec.json.decode(text.encode(), type=tuple[Hook, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"BONGSU_HOOKS must be what `bongsu function hooks` prints: {error}") from None
    return one_each(hooks)


def show_hooks(hooks: Iterable[Hook]) -> str:
    """Hooks as `read_hooks` reads them, on one line."""
    return msgspec.json.encode(list(hooks)).decode()


def one_each(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """These hooks.

    Raises:
        ValueError: two functions have the same address.
    """
    found = tuple(hooks)
    names = [hook.name for hook in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{PREFIX}{twice[0]} is there twice: one function answers a hook, rename one of them")
    return found


def answering(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler as the runtime calls it: what it returns becomes the request's answer.

    Events that it returns, alone or beside its result in a tuple, are published as those of any handler.
    """
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def answer_async(request: HttpRequest, *given: Any) -> list[Event]:
            waiting: Awaitable[Any] = handler(request, *given)
            return _outputs(request, await waiting)

        return answer_async

    @functools.wraps(handler)
    def answer(request: HttpRequest, *given: Any) -> list[Event]:
        return _outputs(request, handler(request, *given))

    return answer


def failure(event: Event, reason: str) -> list[Event]:
    """The answer that the caller of a failed request gets; nothing for other events."""
    if not isinstance(event, HttpRequest):
        return []
    return [Answered(id=event.id, hook=event.hook, answered_at=utc_now(), state="failed", reason=reason[:2000])]


def _outputs(request: HttpRequest, returned: Any) -> list[Event]:
    from functions.function import Reject

    result, events = _split(returned)
    try:
        body = msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise Reject(f"what the handler returned cannot be written as JSON: {error}") from error
    if len(body) > RESULT_MAX:
        raise Reject(f"the result has {len(body)} bytes as JSON, {RESULT_MAX} are the most: return an address of it")
    answered = Answered(id=request.id, hook=request.hook, answered_at=utc_now(), state="done", result=body)
    # The answer last: who reads it may rely on the others.
    return [*events, answered]


def _split(returned: Any) -> tuple[Any, list[Event]]:
    """The result, and the events to publish beside it."""
    if isinstance(returned, Event):
        return None, [returned]
    if not isinstance(returned, tuple) or not any(isinstance(one, Event) for one in returned):
        return returned, []
    events = [one for one in returned if isinstance(one, Event)]
    rest = [one for one in returned if not isinstance(one, Event)]
    return (rest[0] if len(rest) == 1 else rest or None), events
