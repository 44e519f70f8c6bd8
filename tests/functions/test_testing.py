"""What function authors test with: events like those of the workers, and a run that tells what became of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from functions import (
    HAZARDS,
    CameraEvent,
    CameraStatus,
    Captioned,
    CustomEvent,
    Event,
    HazardSeen,
    MotionBurst,
    Reject,
    Retry,
    decode,
    encode,
    on,
)
from functions.function import DeclarationError
from functions.jpeg import check_jpeg
from functions.runtime import StartError
from functions.testing import PICTURE, make_event, run_function


class Parked(CameraEvent, frozen=True, kw_only=True, tag="parked-car"):
    """A function's own fact."""

    spot: int


@pytest.mark.parametrize("what", [MotionBurst, HazardSeen, Captioned, CameraStatus, *HAZARDS, "motion", "captioned"])
def test_made_event_survives_the_wire(what: type[Event] | str) -> None:
    event = make_event(what)
    assert decode(encode(event).body) == event
    assert event.type == what or isinstance(event, what if isinstance(what, type) else Event)
    assert check_jpeg(PICTURE) == (16, 16)


def test_made_event_takes_fields() -> None:
    assert make_event(HazardSeen, hazard="gun", camera="gate-2").detections[0].label == "gun"
    parked = make_event(Parked, spot=4)
    assert (parked.spot, parked.type) == (4, "parked-car") and isinstance(make_event("parked-car", spot=4), Parked)
    assert make_event("never-declared").type == "never-declared"
    assert isinstance(make_event("never-declared"), CustomEvent)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [({"colour": "red"}, "colour"), ({"hazard": "gun"}, "hazard must be 'fire'"), ({"id": ""}, "id")],
)
def test_made_event_refuses_wrong_fields(fields: dict[str, str], refusal: str) -> None:
    with pytest.raises((TypeError, ValueError), match=refusal):
        make_event("fire", **fields)
    with pytest.raises(TypeError, match="spot"):
        make_event(Parked)


async def test_outcome_says_what_became_of_each_event() -> None:
    @on("fire")
    async def handle(event: HazardSeen) -> CustomEvent | None:
        if event.camera == "flaky" and not seen:
            seen.append(event)
            raise Retry("feed away", after=30)
        if event.camera == "bad":
            raise Reject("no such camera")
        return make_event("parked", id=event.id, trace=event.trace)  # type: ignore[no-any-return]

    seen: list[Event] = []
    good, flaky, bad = (make_event("fire", camera=name) for name in ("good", "flaky", "bad"))
    outcome = await run_function(handle, good, flaky, bad)
    assert sorted(e.camera for e in outcome.handled if isinstance(e, HazardSeen)) == ["flaky", "good"]
    assert [(e.id, e.type, e.trace[-1].name) for e in outcome.published] == [
        (good.id, "parked", "handle"),
        (flaky.id, "parked", "handle"),
    ]
    (retried,) = outcome.retried
    assert (retried.event, retried.reason, retried.after_s, retried.attempt) == (flaky, "feed away", 30, 1)
    (dead,) = outcome.dead
    assert (dead.event, dead.reason, dead.attempts) == (bad, "no such camera", 1)


async def test_unread_output_is_shown_where_readers_are_named() -> None:
    @on("fire")
    async def handle(event: HazardSeen) -> CustomEvent:
        return make_event("parked", id=event.id)  # type: ignore[no-any-return]

    assert len((await run_function(handle, make_event("fire"), readers=["parked.report"])).published) == 1
    outcome = await run_function(handle, make_event("fire"), readers=[])
    assert len(outcome.retried) == outcome.dead[0].attempts == 8
    assert "no queue takes 'parked'" in outcome.dead[0].reason and not outcome.published


async def test_batches_come_full_and_resources_are_closed() -> None:
    log: list[object] = []

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        yield "resource"
        log.append("closed")

    @on("fire", uses=opened, batch=3)
    async def handle(events: Sequence[HazardSeen], resource: str) -> None:
        log.append(len(events))

    outcome = await run_function(handle, *(make_event("fire") for _ in range(5)))
    assert log == [3, 2, "closed"] and len(outcome.handled) == 5


async def test_function_that_cannot_start_says_why() -> None:
    @contextlib.asynccontextmanager
    async def never() -> AsyncIterator[str]:
        if Path("/nowhere").exists():
            yield ""
        raise OSError("no disk")

    @on("fire", uses=never)
    async def handle(event: HazardSeen, resource: str) -> None: ...

    with pytest.raises(StartError, match="no disk"):
        await run_function(handle, make_event("fire"))


async def test_errors_are_drawn_by_no_rich_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    @on("fire")
    async def handle(event: HazardSeen) -> None:
        raise ZeroDivisionError("a bug")

    with capture_logs():  # leaves structlog configured
        pass
    await run_function(handle, make_event("fire"))
    shown = capsys.readouterr().out
    assert shown.count("Traceback (most recent call last)") >= 8 and "locals" not in shown


async def test_function_that_hangs_says_what_is_left() -> None:
    @on("fire")
    async def handle(event: HazardSeen) -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError, match=r"handle was not done after 0.2 s: fire.handle: 1 waiting, 1 in work"):
        await run_function(handle, make_event("fire"), make_event("fire"), timeout_s=0.2)


async def test_target_is_a_file_a_module_or_a_handler(tmp_path: Path) -> None:
    path = tmp_path / "siren.py"
    path.write_text('from functions import on\n\n@on("gun")\ndef sound(event):\n    assert event.camera == "gate-1"\n')
    assert len((await run_function(path, make_event("gun"))).handled) == 1
    assert len((await run_function(str(path), make_event("gun"))).handled) == 1
    with pytest.raises(ValueError, match="siren takes gun, and this event is 'fire'"):
        await run_function(path, make_event("fire"))
    with pytest.raises(DeclarationError, match="is not a handler"):
        await run_function(check_jpeg, make_event("fire"))
