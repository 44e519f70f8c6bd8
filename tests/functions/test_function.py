from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from functions import Box, CameraEvent, Captioned, Detection, Event, Frame, HazardSeen, Place, on, utc_now
from functions.function import DeclarationError, load_function
from functions.topology import queue, queue_name


def write(path: Path, text: str) -> str:
    path.write_text("from functions import on\n" + text)
    return str(path)


def test_a_decorated_handler_is_still_the_plain_function() -> None:
    def handler(event: Event) -> None:
        return None

    assert on("fire")(handler) is handler


def test_a_file_is_a_function_named_after_it(tmp_path: Path) -> None:
    target = write(tmp_path / "hospital.py", '@on("accident", "fire")\nasync def call(event): ...\n')
    function = load_function(target)
    assert (function.name, function.queues) == ("hospital", ("accident.hospital", "fire.hospital"))


def test_lazily_imported_handler_is_found(tmp_path: Path) -> None:
    lazy = """
__all__ = ["save"]
def __getattr__(name):
    @on("fire")
    async def save(event): ...
    return {"save": save}[name]
"""
    assert load_function(write(tmp_path / "hospital.py", lazy)).queues == ("fire.hospital",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "declares no handler"),
        ('@on("fire")\nasync def a(e): ...\n@on("fire")\nasync def b(e): ...\n', "two handlers for fire"),
    ],
)
def test_a_module_that_is_no_function_is_told_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        load_function(write(tmp_path / "broken.py", text))


@pytest.mark.parametrize("target", ["no.such.module", "/no/such/file.py"])
def test_a_missing_module_is_named(target: str) -> None:
    with pytest.raises(DeclarationError, match=target.split(".", maxsplit=1)[0]):
        load_function(target)


def test_on_needs_a_type_and_a_whole_batch() -> None:
    with pytest.raises(DeclarationError, match="at least one"):
        on()
    with pytest.raises(DeclarationError, match="batch"):
        on("fire", batch=0)


def test_queue_names_say_type_and_function() -> None:
    assert queue_name("fire", "map") == "fire.map"
    assert queue_name("motion", "detect") == "motion"
    assert queue("fire.map").routing_key == "fire"
    assert queue("motion").max_length == 256
    for wrong in ("fire", "Fire.map", "fire.map.x", ""):
        with pytest.raises(ValueError, match="queue name"):
            queue(wrong)


def test_on_takes_types_and_names(tmp_path: Path) -> None:
    text = "from functions import *\n@on(HazardSeen, 'parked', Captioned)\nasync def call(event): ...\n"
    assert load_function(write(tmp_path / "all.py", text)).queues == (
        "accident.all", "fire.all", "gun.all", "knife.all", "parked.all", "captioned.all",
    )  # fmt: skip


@pytest.mark.parametrize("types", [(HazardSeen, "fire"), (Captioned, Captioned), ("fire", "fire")])
def test_on_refuses_a_type_twice(types: tuple[str | type[Event], ...]) -> None:
    with pytest.raises(DeclarationError, match="named twice"):
        on(*types)


def test_on_refuses_an_envelope() -> None:
    with pytest.raises(DeclarationError, match="CameraEvent has no type of its own"):
        on(CameraEvent)


def test_a_function_of_version_1_runs_on_a_hazard(tmp_path: Path) -> None:
    text = """
from functions import Event, Retry, on
@on("fire")
async def call(event: Event):
    facts = (event.type, event.camera, event.place.name, event.confidence, event.detections[0].label)
    return Event(id=event.id, type="parked", camera=event.camera, place=event.place, captured_at=event.captured_at,
                 frames=event.frames, detections=event.detections, searched=event.searched,
                 status=" ".join(map(str, facts)))
"""
    (tmp_path / "yesterday.py").write_text(text)
    (subscription,) = load_function(str(tmp_path / "yesterday.py")).subscriptions
    at = utc_now()
    fire = HazardSeen(
        id="e", hazard="fire", camera="gate-1", place=Place(37.5, 127.0, "gate"), captured_at=at,
        frame=Frame(b"jpeg", at), detections=(Detection("fire", 0.9, Box(0, 0, 1, 1)),),
    )  # fmt: skip
    returned = asyncio.run(subscription.handler(fire))
    assert (returned.type, returned.frames, returned.status) == ("parked", (fire.frame,), "fire gate-1 gate 0.9 fire")
