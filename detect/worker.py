"""The detector's function: consumes `motion`, confirms hazards inside each burst, and publishes an event for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from prometheus_client import Counter

from detect.detector import HazardDetector
from detect.follow import follow_weights
from detect.rules import Confirmed, fits
from functions import Detection, HazardSeen, MotionBurst, on

log = structlog.get_logger()

confirmed_total = Counter("bongsu_hazards_confirmed_total", "Hazards confirmed inside a burst", ["type"])
doubted_total = Counter(
    "bongsu_hazards_doubted_total",
    "Hazards confirmed inside a burst but rejected because of the objects around them",
    ["type"],
)


@asynccontextmanager
async def open_detector() -> AsyncIterator[HazardDetector]:
    """Load the hazard network without blocking the loop, and follow the version that is deployed on this machine.

    Raises:
        ModelError: the weights are missing or altered.
    """
    detector = await asyncio.to_thread(HazardDetector)
    following = asyncio.create_task(follow_weights(detector))
    try:
        yield detector
    finally:
        following.cancel()


@on(MotionBurst, uses=open_detector, batch=4)
async def detect(events: Sequence[MotionBurst], detector: HazardDetector) -> list[HazardSeen]:
    """Confirm hazards in bursts; each becomes an event with its best frame and all detections in it."""
    return await asyncio.to_thread(_detect, events, detector)


def _detect(events: Sequence[MotionBurst], detector: HazardDetector) -> list[HazardSeen]:
    found: list[list[HazardSeen]] = [[] for _ in events]
    # Each look costs more than the one before, and is taken only if those confirmed nothing.
    for look in (detector.look, detector.look_closer, detector.look_at_people):
        again = [i for i, hazards in enumerate(found) if not hazards]
        for i, confirmed in zip(again, look([events[i] for i in again]), strict=True):
            found[i] = _check_surroundings(events[i], confirmed, detector)
    return [event for hazards in found for event in hazards]


def _check_surroundings(
    event: MotionBurst, confirmed: Sequence[Confirmed], detector: HazardDetector
) -> list[HazardSeen]:
    """An event for each confirmed hazard that fits its surroundings."""
    published = []
    scenes: dict[int, tuple[list[Detection], tuple[str, ...]]] = {}
    for hazard in confirmed:
        frame = event.frames[hazard.frame]
        if hazard.frame not in scenes:
            scenes[hazard.frame] = detector.look_around(frame.jpeg, hazard.part)
        around, searched = scenes[hazard.frame]
        if searched and not fits(hazard, around):
            doubted_total.labels(hazard.hazard).inc()
            log.info("hazard_doubted", hazard=hazard.hazard, camera=event.camera, event_id=event.id, reason="alone")
            continue
        confirmed_total.labels(hazard.hazard).inc()
        published.append(
            HazardSeen(
                id=event.id,
                hazard=hazard.hazard,
                camera=event.camera,
                place=event.place,
                captured_at=event.captured_at,
                frame=frame,
                detections=(_shown(hazard), *hazard.others, *around),
                labels_searched=(*detector.labels, *searched),
                zones=event.zones,
                late=event.late,
                trace=event.trace,
            )
        )
    return published


def _shown(hazard: Confirmed) -> Detection:
    """The event's detection: the box of the best frame, with the confidence of the whole burst."""
    return Detection(hazard.hazard, hazard.confidence, hazard.detection.box)
