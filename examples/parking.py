"""Finds vehicles that stand in a fire lane while there is a fire; publishes `lane-blocked`, one event for each lane.

A fire lane is a zone of the camera (cameras.yaml) whose English name contains "fire lane". This function's events need
a reader, or publishing fails (`Unroutable`): `examples/nightly.py` is one. Deploy the reader first.

Run:   python -m functions examples/parking.py
"""

from __future__ import annotations

from functions import CameraEvent, Detection, HazardSeen, Zone, on

VEHICLES = frozenset({"car", "bus", "truck", "motorcycle", "vehicle"})


class LaneBlocked(CameraEvent, frozen=True, kw_only=True, tag="lane-blocked"):
    """Vehicles are standing where fire engines have to pass."""

    lane: str
    """English name of the zone."""
    vehicles: int
    """How many of them, at least 1."""


@on("fire")
def parking(event: HazardSeen) -> list[LaneBlocked]:
    """One event for each fire lane with a vehicle in it; none if the detector did not look for vehicles."""
    lanes = [zone for zone in event.zones if "fire lane" in zone.name.en.lower()]
    counted = {lane.name.en: sum(stands_in(lane, seen) for seen in event.detections) for lane in lanes}
    return [
        LaneBlocked(
            id=event.id,
            camera=event.camera,
            place=event.place,
            captured_at=event.captured_at,
            trace=event.trace,
            late=event.late,
            lane=name,
            vehicles=vehicles,
        )
        for name, vehicles in counted.items()
        if vehicles
    ]


def stands_in(zone: Zone, seen: Detection) -> bool:
    """Whether this is a vehicle that stands in the zone, judged by the middle of its box's lower edge."""
    return seen.label in VEHICLES and zone.holds((seen.box.x1 + seen.box.x2) / 2, seen.box.y2)
