"""How a function is declared: `@on`, and the exceptions by which a handler says what happens next."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from functions.event import Event
from functions.hook import RESULTS, Access, Hook, answering, hook_at
from functions.schedule import Schedule
from functions.topology import queue_name

Handler = TypeVar("Handler", bound=Callable[..., Any])
Resource = Callable[[], AbstractAsyncContextManager[Any]]

_ATTRIBUTE = "__bongsu_subscription__"


class Retry(Exception):
    """Raised by a handler: deliver the event again, `after` seconds from now, up to the delivery limit."""

    def __init__(self, reason: str, *, after: float = 5.0) -> None:
        """Take the reason, for log and dead letter, and the seconds to wait (`after`, 300 at most)."""
        super().__init__(reason)
        self.reason = reason
        self.after_s = after


class Reject(Exception):
    """Raised by a handler: a retry cannot help; keep the event as a dead letter with this reason."""

    def __init__(self, reason: str) -> None:
        """Take the reason, for log and dead letter."""
        super().__init__(reason)
        self.reason = reason


class DeclarationError(ValueError):
    """A module cannot be run as a function; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One handler and its `@on` arguments."""

    handler: Callable[..., Any]
    types: tuple[str, ...]
    uses: Resource | None
    batch: int
    batch_wait_s: float
    timeout_s: float
    hook: Hook | None = None
    """The address whose requests it answers."""
    schedule: Schedule | None = None
    """The times at which it is called."""


@dataclass(frozen=True, slots=True)
class Function:
    """One deployable function: the handlers of one module, named after it."""

    name: str
    subscriptions: tuple[Subscription, ...]

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that this function consumes, one for each of its types."""
        return tuple(queue_name(t, self.name) for s in self.subscriptions for t in s.types)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The addresses that it answers."""
        return tuple(s.hook for s in self.subscriptions if s.hook is not None)

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The times at which it is called."""
        return tuple(s.schedule for s in self.subscriptions if s.schedule is not None)

    @property
    def needs(self) -> tuple[str, ...]:
        """The queues that must be there for it to work: its own, and that of its answers."""
        return (*self.queues, *([RESULTS] if self.hooks else []))


class _On:
    """`@on` itself, with `@on.http` and `@on.schedule` beside it."""

    def __call__(
        self,
        *types: str | type[Event],
        uses: Resource | None = None,
        batch: int = 1,
        batch_wait_s: float = 0.02,
        timeout_s: float = 20.0,
    ) -> Callable[[Handler], Handler]:
        """Call the decorated handler for every event of these types.

        The handler takes the event (a `Sequence[Event]` if `batch` > 1) and, if `uses` is given, what that context
        manager yields; it may be async or plain (a plain one runs in a thread). It returns nothing, an event, or
        several: they are published, then the input is acknowledged. It raises `Retry`, `Reject`, or anything else,
        which counts as `Retry`.

        Args:
            types: classes of events, such as `HazardSeen` (all hazards) or `Captioned`, and names, such as "accident".
            uses: opened once per replica before the first event, closed after the last.
            batch: the most events in one call.
            batch_wait_s: how long an incomplete batch waits for more.
            timeout_s: a call that takes longer is abandoned and counts as `Retry`. Keep it under the grace period.

        Raises:
            DeclarationError: no types, a type twice, a class without a type of its own, or a batch below 1.
        """
        if not types:
            raise DeclarationError('@on needs at least one event type, as in @on("accident")')
        if batch < 1:
            raise DeclarationError(f"@on: batch must be at least 1, got {batch}")
        names = tuple(name for type_ in types for name in _names(type_))
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DeclarationError(f"@on: {', '.join(twice)} named twice: HazardSeen stands for every hazard")

        def declare(handler: Handler) -> Handler:
            setattr(handler, _ATTRIBUTE, Subscription(handler, names, uses, batch, batch_wait_s, timeout_s))
            return handler

        return declare

    def http(
        self,
        path: str,
        *,
        access: Access = "operator",
        rate: float = 60.0,
        body_max: int = 65_536,
        content_types: tuple[str, ...] = ("application/json",),
        uses: Resource | None = None,
        timeout_s: float = 20.0,
    ) -> Callable[[Handler], Handler]:
        """Call the decorated handler for every request (POST) that the API takes at this path.

        The handler takes an `HttpRequest` and, if `uses` is given, what that context manager yields. What it returns is
        the result, as JSON; events in a returned tuple are published, too. `Reject` fails the request at once with its
        reason; `Retry` and other errors do so at the delivery limit.

        Args:
            path: `/hooks/NAME`, NAME of lower case letters, digits and -.
            access: whose key the API asks for: "operator", "key" (any of the API's keys) or "open" (none).
            rate: requests a minute from one address or key; 0 means unlimited.
            body_max: bytes of a body, 8,000,000 at most; the API refuses a larger one.
            content_types: what a body may be; the API refuses others, and JSON that is none.
            uses: opened once per replica before the first request, closed after the last.
            timeout_s: a call that takes longer is abandoned and counts as `Retry`. Keep it under the grace period.

        Raises:
            DeclarationError: the path or an option cannot be used.
        """
        try:
            hook = hook_at(path, access=access, rate=rate, body_max=body_max, content_types=content_types)
        except ValueError as error:
            raise DeclarationError(f"@on.http: {error}") from None

        def declare(handler: Handler) -> Handler:
            called = Subscription(answering(handler), (hook.type,), uses, 1, 0.0, timeout_s, hook=hook)
            setattr(handler, _ATTRIBUTE, called)
            return handler

        return declare

    def schedule(
        self, cron: str, *, zone: str = "UTC", uses: Resource | None = None, timeout_s: float = 20.0
    ) -> Callable[[Handler], Handler]:
        """Call the decorated handler at these times, once for each.

        The handler takes a `Tick` and, if `uses` is given, what that context manager yields; else it is as with `@on`.

        Args:
            cron: minute, hour, day of month, month, day of week, as in `0 6 * * *`.
            zone: the time zone of those fields, such as "Asia/Seoul".
            uses: opened once per replica before the first tick, closed after the last.
            timeout_s: a call that takes longer is abandoned and counts as `Retry`. Keep it under the grace period.

        Raises:
            DeclarationError: the times or the zone cannot be used.
        """

        def declare(handler: Handler) -> Handler:
            try:
                when = Schedule(getattr(handler, "__name__", ""), cron, zone)
            except ValueError as error:
                raise DeclarationError(f"@on.schedule: {error}") from None
            setattr(handler, _ATTRIBUTE, Subscription(handler, (when.type,), uses, 1, 0.0, timeout_s, schedule=when))
            return handler

        return declare


on = _On()
"""Declares what a function takes: `@on(TYPE)`, `@on.http(PATH)`, `@on.schedule(CRON)`."""


def load_function(target: str) -> Function:
    """Import a module (`notify.post`) or a file (`./hospital.py`) and collect its handlers.

    Raises:
        DeclarationError: it cannot be imported, declares no handler, or two handlers take the same type.
    """
    return collect_function(_import_file(Path(target)) if target.endswith(".py") else _import_module(target), target)


def collect_function(module: ModuleType, target: str = "") -> Function:
    """The function that a module declares: all handlers in it, under the last part of its name.

    Args:
        module: an imported module or package.
        target: how messages call it; its own name, if not given.

    Raises:
        DeclarationError: it declares no handler, two handlers take the same type, or its name is invalid.
    """
    target = target or module.__name__
    name = _require_name(module.__name__.rpartition(".")[2], "rename the file")
    # A package may import its handler lazily; `__all__` names it.
    values = [getattr(module, name, None) for name in dict.fromkeys([*vars(module), *getattr(module, "__all__", ())])]
    found = [getattr(value, _ATTRIBUTE, None) for value in values if inspect.isroutine(value)]
    subscriptions = tuple(dict.fromkeys(s for s in found if s is not None))
    if not subscriptions:
        raise DeclarationError(f'{target} declares no handler: decorate one with @on("accident")')
    taken = [t for s in subscriptions for t in s.types]
    twice = sorted({t for t in taken if taken.count(t) > 1})
    if twice:
        raise DeclarationError(f"{target} has two handlers for {', '.join(twice)}: keep one, it may call the other")
    return Function(name, subscriptions)


def function_of(handler: Callable[..., Any]) -> Function:
    """One decorated handler as a function of its own, named after it.

    Raises:
        DeclarationError: it is not decorated with `@on`, or its name is invalid.
    """
    subscription = getattr(handler, _ATTRIBUTE, None)
    name = getattr(handler, "__name__", repr(handler))
    if subscription is None:
        raise DeclarationError(f'{name} is not a handler: decorate it with @on("accident")')
    return Function(_require_name(name, "rename the handler"), (subscription,))


def _require_name(name: str, fix: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise DeclarationError(f"function name {name!r} must be lower case letters, digits and _: {fix}")
    return name


def _names(type_: str | type[Event]) -> tuple[str, ...]:
    """The routing keys that an argument of `@on` stands for."""
    if isinstance(type_, str):
        return (type_,)
    names = type_.types()
    if not names:
        raise DeclarationError(f'@on: {type_.__name__} has no type of its own: name one, as in @on("parked")')
    return names


def _import_module(target: str) -> ModuleType:
    try:
        return importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name is not None and (target == error.name or target.startswith(f"{error.name}.")):
            raise DeclarationError(f"no module {target!r}: give a module like notify.post or a path to a .py") from None
        raise


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DeclarationError(f"no file {str(path)!r}: give a module like notify.post or a path to a .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
