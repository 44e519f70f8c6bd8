"""For tests of functions: builds events, and runs a function on them as a worker would; public, for every author.

    outcome = asyncio.run(run_function("hospital.py", make_event("accident")))
    assert outcome.handled and not outcome.dead

It is the real runtime over the memory broker: queues, wire format, batches, retries, delivery limit, timeouts and dead
letters are those of production. One thing differs: a retry is delivered at once, so that no test waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

import structlog

from functions.event import (
    HAZARDS,
    Box,
    CameraEvent,
    CameraStatus,
    Caption,
    Captioned,
    CustomEvent,
    Detection,
    Event,
    Frame,
    HazardSeen,
    HttpRequest,
    MotionBurst,
    Place,
    Tick,
    class_of,
    encode,
    new_id,
    utc_now,
)
from functions.event.requests import HOOK, TICK
from functions.function import Function, collect_function, function_of, load_function
from functions.hazards import KINDS
from functions.recording import DeadEvent, Outcome, RecordingBroker, RetriedEvent
from functions.runtime import run
from functions.topology import queues

__all__ = ["PICTURE", "DeadEvent", "Outcome", "RetriedEvent", "make_event", "run_function"]

PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBk"
    "eFxlZ2P/wAALCAAQABABAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG"
    "E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJ"
    "ipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/ACiiiv/Z"
)
"""A JPEG of 16 by 16 grey pixels, 333 bytes: the picture of the events that `make_event` builds."""
_PLACE = Place(37.5559, 126.9368, "Sinchon Market", "Seoul")
_BOX = Box(0.1, 0.1, 0.4, 0.6)
_GRACE_S = 2.0

_E = TypeVar("_E", bound=Event)


@overload
def make_event(what: type[_E], /, **fields: Any) -> _E: ...
@overload
def make_event(what: str, /, **fields: Any) -> Any: ...
def make_event(what: type[Event] | str, /, **fields: Any) -> Any:
    """Build an event as Bongsu's own workers publish it; fields that the test does not give are filled in.

    A fact about a camera gets a fresh id, the camera `gate-1` at Sinchon Market (37.5559, 126.9368) and the time now; a
    hazard also one detection of confidence 0.9 and a frame, a `Captioned` its words and a picture, a `MotionBurst` one
    frame, a `CameraStatus` the status "live". A request ("hook-report") has the body `{}`, a tick ("tick-nightly") is
    due now. For a type of your own only the envelope is filled in.

    Args:
        what: a class, such as `HazardSeen` (a fire, if `hazard` is not given), or a type, such as "accident",
            "captioned" or "parked"; a type without a class gives a `CustomEvent`.
        fields: of the event; they replace the defaults.

    Returns:
        An event of that class.

    Raises:
        TypeError: a field is unknown, or one that has no default is missing.
        ValueError: a field is out of its range, or `hazard` differs from `what`.
    """
    fact = class_of(what) if isinstance(what, str) else what
    given: dict[str, Any] = {"id": new_id()}
    if issubclass(fact, CameraEvent):
        given |= {"camera": "gate-1", "place": _PLACE, "captured_at": utc_now()}
    if isinstance(what, str):
        if fact is HazardSeen:
            if fields.get("hazard", what) != what:
                raise ValueError(f"hazard must be {what!r} for an event of that type, got {fields['hazard']!r}")
            given["hazard"] = what
        elif fact in (CustomEvent, HttpRequest, Tick):
            given["type"] = what
        if fact is HttpRequest:
            given |= {"hook": what.removeprefix(HOOK), "received_at": utc_now(), "body": b"{}"}
        elif fact is Tick:
            given |= {"schedule": what.removeprefix(TICK), "due_at": utc_now().replace(second=0, microsecond=0)}
    return fact(**(given | _contents(fact, given | fields) | fields))


def _contents(fact: type[Event], given: dict[str, Any]) -> dict[str, Any]:
    """Default contents of one of our own facts, given the fields that the test has set."""
    if fact is MotionBurst:
        return {"frames": (Frame(PICTURE, given["captured_at"]),)}
    if fact is CameraStatus:
        return {"status": "live"}
    if fact not in (HazardSeen, Captioned):
        return {}
    hazard = given.get("hazard", "fire")
    contents = {"hazard": hazard, "detections": (Detection(hazard, 0.9, _BOX),)}
    if fact is HazardSeen:
        frame = Frame(PICTURE, given["captured_at"])
        return contents | {"frame": frame, "labels_searched": (*HAZARDS, "person", "vehicle")}
    headline = KINDS[hazard].headline if hazard in HAZARDS else KINDS["fire"].headline
    name = given["place"].name
    caption = Caption(f"{headline.en} at {name}.", f"{name}에서 {headline.ko}.")
    return contents | {"caption": caption, "snapshot": PICTURE}


async def run_function(
    target: str | Path | ModuleType | Function | Callable[..., Any],
    *events: Event,
    readers: Iterable[str] | None = None,
    timeout_s: float = 10.0,
) -> Outcome:
    """Run a function on these events until all of them are settled.

    All events wait in their queues before the function starts, so a handler of batches gets full ones. What the
    function `uses` is opened and closed as in a worker, from the environment: set variables before the call.

    Args:
        target: a module or its name (`notify.post`), a path to a .py file, or one handler, which then is the function.
        events: the events, oldest first; each must be of a type that the function takes.
        readers: queues, such as `parked.report`, that take what the function publishes. By default whatever it
            publishes has a reader. On a real broker a type that no function reads is an error (`Unroutable`): name the
            queues that you will have, or none, to see it.
        timeout_s: a function that is not done by then has failed.

    Returns:
        The events that were handled, published and retried, and the dead letters.

    Raises:
        DeclarationError: the target cannot be run as a function.
        StartError: what the function uses could not be opened.
        TimeoutError: events are still waiting or being handled; the message says where.
        ValueError: the function does not take an event of such a type.
    """
    function = _function(target)
    taken = [type_ for subscription in function.subscriptions for type_ in subscription.types]
    for event in events:
        if event.type not in taken:
            raise ValueError(f"{function.name} takes {', '.join(taken)}, and this event is {event.type!r}")
    broker = RecordingBroker(has_any_reader=readers is None)
    await broker.declare(queues([*function.queues, *(readers or ())]))
    await broker.memory.publish(*map(encode, events))
    with _plain_tracebacks():
        left = await _run_until_drained(function, broker, timeout_s)
    if left:
        raise TimeoutError(f"{function.name} was not done after {timeout_s:g} s: {left}")
    return await broker.sum_up()


async def _run_until_drained(function: Function, broker: RecordingBroker, timeout_s: float) -> str:
    """Serve the function's queues until they are empty or the time is over; returns what is left, in words."""
    stopping = asyncio.Event()
    running = asyncio.create_task(run(function, broker, stopping, grace_s=_GRACE_S))
    draining = asyncio.create_task(broker.drain(function.queues))
    await asyncio.wait((running, draining), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    left = "" if draining.done() else await broker.count(function.queues)
    draining.cancel()
    stopping.set()
    await running
    return left


@contextlib.contextmanager
def _plain_tracebacks() -> Iterator[None]:
    """Print errors as Python does: if `rich` formats them, each of eight retries takes over a second."""
    processors: list[Any] = structlog.get_config()["processors"]
    kept = list(processors)
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    # In place, because existing loggers hold this same list.
    processors[:] = [plain if isinstance(one, structlog.dev.ConsoleRenderer) else one for one in kept]
    try:
        yield
    finally:
        processors[:] = kept


def _function(target: str | Path | ModuleType | Function | Callable[..., Any]) -> Function:
    if isinstance(target, Function):
        return target
    if isinstance(target, ModuleType):
        return collect_function(target)
    return load_function(str(target)) if isinstance(target, (str, Path)) else function_of(target)
