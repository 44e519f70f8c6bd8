"""The detector's function: drains `motion`, confirms hazards inside each burst, publishes one event for each."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import structlog
from prometheus_client import Counter, Histogram

from detect.letterbox import Image
from detect.model import (
    SCENE,
    Network,
    decode_jpeg,
    device_from_environment,
    hazard_spec,
    threads_from_environment,
)
from detect.near import believed, cut, part
from detect.registry import ModelError
from detect.rules import Confirmed, confirm, fits
from functions import HAZARDS, Box, Detection, Event, Reject, on
from functions.jpeg import PictureError

log = structlog.get_logger()

confirmed_total = Counter("bongsu_hazards_confirmed_total", "Hazards confirmed inside a burst", ["type"])
doubted_total = Counter(
    "bongsu_hazards_doubted_total",
    "Hazards confirmed inside a burst and not believed beside what else is there",
    ["type"],
)
frames_total = Counter("bongsu_frames_detected_total", "Frames by what became of them", ["outcome"])
inference_seconds = Histogram(
    "bongsu_inference_duration_seconds",
    "One call of a network",
    ["network"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)

_IMAGES = 4
"""Pictures in one inference: on a CPU more bring nothing but memory (bench/detector.py)."""


class Eye:
    """Both networks: hazards in every frame, and people and vehicles in the one frame that is shown."""

    def __init__(self) -> None:
        self._threads = threads_from_environment()
        self._device = device_from_environment()
        self._hazards = Network(hazard_spec(), self._threads, self._device)
        self._scene: Network | None = None

    def look(self, events: Sequence[Event]) -> list[list[Confirmed]]:
        """What each burst proves; one entry for each event.

        Where whole frames prove nothing, the part of them in which something moved is looked at again, closer.

        Raises:
            Reject: an event has no frame that can be decoded.
        """
        proved = [confirm(frames, e.thresholds) for frames, e in zip(self._find(events), events, strict=True)]
        closer = {
            i: (moved, where)
            for i, event in enumerate(events)
            if not proved[i] and (moved := event.moved) and (where := part(moved))
        }
        found = self._find([events[i] for i in closer], [where for _, where in closer.values()])
        for (i, (moved, where)), frames in zip(closer.items(), found, strict=True):
            near = [believed(frame, where, moved) for frame in frames]
            proved[i] = [replace(c, part=where) for c in confirm(near, events[i].thresholds, near=True)]
        return proved

    def _find(self, events: Sequence[Event], parts: Sequence[Box] | None = None) -> list[list[list[Detection]]]:
        """What is in each frame of each event, or in that part of it."""
        decoded = [
            (i, at, image)
            for i, event in enumerate(events)
            for at, image in self._decode(event, parts[i] if parts else None)
        ]
        # A frame that could not be decoded shows nothing, but keeps its place in the burst.
        found: list[list[list[Detection]]] = [[[] for _ in event.frames] for event in events]
        for start in range(0, len(decoded), _IMAGES):
            some = decoded[start : start + _IMAGES]
            results = _timed(self._hazards, [image for _, _, image in some], "hazard")
            for (i, at, _), detections in zip(some, results, strict=True):
                found[i][at] = detections
        return found

    def look_around(self, jpeg: bytes, where: Box | None = None) -> tuple[list[Detection], tuple[str, ...]]:
        """People and vehicles in one picture, and the labels that were looked for.

        The network is loaded at the first need: hazards are rare, and a cold start should not pay for it.

        Args:
            jpeg: the picture.
            where: a part of it to look at more closely, too.
        """
        try:
            if self._scene is None:
                self._scene = Network(SCENE, self._threads, self._device)
            size_px = self._scene.size_px
            (found,) = _timed(self._scene, [decode_jpeg(jpeg, enough_px=size_px)], "scene")
            if where is not None:
                closer = cut(decode_jpeg(jpeg, enough_px=math.ceil(size_px / (where.x2 - where.x1))), where)
                (more,) = _timed(self._scene, [closer], "scene")
                found = [*found, *(d for d in believed(more, where, where) if not _is_among(d, found))]
        except (ModelError, PictureError) as error:
            # The alert matters more than its picture: it goes out, and redaction will withhold the picture.
            log.error("scene_unknown", reason=str(error))
            return [], ()
        return found, self._scene.labels

    def _decode(self, event: Event, where: Box | None) -> list[tuple[int, Image]]:
        """The frames that can be decoded, or that part of each; what cannot be is told at the first look."""
        enough_px = self._hazards.size_px if where is None else math.ceil(self._hazards.size_px / (where.x2 - where.x1))
        images = []
        for at, frame in enumerate(event.frames):
            try:
                image = decode_jpeg(frame.jpeg, enough_px=enough_px)
            except PictureError as error:
                if where is None:
                    frames_total.labels("undecodable").inc()
                    log.warning("frame_skipped", camera=event.camera, event_id=event.id, reason=str(error))
                continue
            images.append((at, image if where is None else cut(image, where)))
        if not images:
            raise Reject(f"none of {len(event.frames)} frames can be decoded")
        if where is None:
            frames_total.labels("ok").inc(len(images))
        return images


@asynccontextmanager
async def open_eye() -> AsyncIterator[Eye]:
    """Load the hazard network, without blocking the loop.

    Raises:
        ModelError: the weights are missing or altered.
    """
    yield await asyncio.to_thread(Eye)


@on("motion", uses=open_eye, batch=4)
async def detect(events: Sequence[Event], eye: Eye) -> list[Event]:
    """Confirm hazards in bursts; each becomes an event with its best frame and all that was found in it."""
    return await asyncio.to_thread(_detect, events, eye)


def _detect(events: Sequence[Event], eye: Eye) -> list[Event]:
    published = []
    for event, confirmed in zip(events, eye.look(events), strict=True):
        scenes: dict[int, tuple[list[Detection], tuple[str, ...]]] = {}
        for hazard in confirmed:
            frame = event.frames[hazard.frame]
            if hazard.frame not in scenes:
                scenes[hazard.frame] = eye.look_around(frame.jpeg, hazard.part)
            around, searched = scenes[hazard.frame]
            if searched and not fits(hazard, around):
                doubted_total.labels(hazard.hazard).inc()
                log.info("hazard_doubted", hazard=hazard.hazard, camera=event.camera, event_id=event.id, reason="alone")
                continue
            confirmed_total.labels(hazard.hazard).inc()
            published.append(
                msgspec.structs.replace(
                    event,
                    type=hazard.hazard,
                    hazard=hazard.hazard,
                    frames=(frame,),
                    detections=(_shown(hazard), *hazard.others, *around),
                    searched=(*HAZARDS, *searched),
                )
            )
    return published


def _is_among(found: Detection, others: Sequence[Detection]) -> bool:
    return any(d.label == found.label and d.box.iou(found.box) >= SCENE.iou for d in others)


def _shown(hazard: Confirmed) -> Detection:
    """The detection as people are told of it: where it was best seen, as sure as the whole burst is."""
    return Detection(hazard.hazard, hazard.confidence, hazard.detection.box)


def _timed(network: Network, images: Sequence[Image], name: str) -> list[list[Detection]]:
    begun = time.perf_counter()
    found = network.detect(images)
    inference_seconds.labels(name).observe(time.perf_counter() - begun)
    return found
