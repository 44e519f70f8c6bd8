"""`HazardDetector`: decodes the frames of bursts and runs both networks on them; `detect/worker.py` calls it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from prometheus_client import Counter, Histogram

from detect.people import keep_weapons, parts_with_people, people_from_environment
from detect.rules import Confirmed, can_confirm, confirm, enough, surest
from detect.zoom import busiest, cut, keep_overlapping, part
from functions import HAZARDS, Box, Detection, MotionBurst, Reject
from functions.jpeg import PictureError
from models.letterbox import Image
from models.network import (
    SCENE,
    Network,
    Spec,
    decode_jpeg,
    device_from_environment,
    hazard_spec,
    threads_from_environment,
)
from models.registry import ModelError

log = structlog.get_logger()

frames_total = Counter("bongsu_frames_detected_total", "Frames by outcome", ["outcome"])
inference_seconds = Histogram(
    "bongsu_inference_duration_seconds",
    "One call of a network",
    ["network"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)

_IMAGES = 4
"""The most pictures in one inference: on a CPU more only cost memory (bench/detector.py)."""
_EDGE = 0.01
"""A box this close to the edge of a crop, in fractions of the frame, counts as cut off by it."""
_MOTION_PX = 160
"""Width at which frames are compared to find where they differ most."""
_Seen = list[Detection] | PictureError
_Job = tuple[bytes, Box | None]


class HazardDetector:
    """Runs both networks: hazards in every frame, and people and vehicles in the one frame that is published.

    Frames are decoded and processed in parallel, one thread each: threads within an inference gain less.
    """

    def __init__(self) -> None:
        self._threads = threads_from_environment()
        self._device = device_from_environment()
        self._spec = hazard_spec()
        self._hazards = Network(self._spec, 1, self._device, lanes=self._threads)
        _warn_of_missing(self._hazards, self._spec.path)
        self._people = people_from_environment()
        self._lanes = ThreadPoolExecutor(self._threads, "bongsu-detector")
        self._scene: Network | None = None

    @property
    def weights(self) -> Path:
        """The file that the hazard network was loaded from."""
        return self._spec.path

    @property
    def labels(self) -> tuple[str, ...]:
        """The hazards that the hazard network can find."""
        return self._hazards.labels

    def switch(self, spec: Spec) -> None:
        """Load another hazard network, then use it from the next batch on; the old one works until then.

        Raises:
            ModelError: it cannot be loaded or run; the old one stays in use.
        """
        network = Network(spec, 1, self._device, lanes=self._threads)
        # The first inference allocates memory; no burst should wait for that.
        network.detect([np.zeros((network.size_px, network.size_px, 3), np.uint8)])
        _warn_of_missing(network, spec.path)
        self._spec, self._hazards = spec, network

    def look(self, events: Sequence[MotionBurst]) -> list[list[Confirmed]]:
        """Hazards confirmed on the whole frames of each burst; one entry for each event.

        Raises:
            Reject: none of an event's frames can be decoded.
        """
        return [confirm(frames, e.thresholds) for frames, e in zip(self._find(events), events, strict=True)]

    def look_closer(self, events: Sequence[MotionBurst]) -> list[list[Confirmed]]:
        """Hazards confirmed on the part of each burst in which something moved; one entry for each event."""
        parts = {i: place for i, event in enumerate(events) if (place := _place_of_motion(event))}
        found = self._find([events[i] for i in parts], [where for _, where in parts.values()])
        proved: list[list[Confirmed]] = [[] for _ in events]
        for (i, (moved, where)), frames in zip(parts.items(), found, strict=True):
            near = [keep_overlapping(frame, where, moved) for frame in frames]
            proved[i] = [replace(c, part=where) for c in confirm(near, events[i].thresholds, look="moved")]
        return proved

    def look_at_people(self, events: Sequence[MotionBurst]) -> list[list[Confirmed]]:
        """Weapons confirmed around the people of each burst; one entry for each event."""
        proved: list[list[Confirmed]] = [[] for _ in events]
        if not self._people:
            return proved
        around = [self._people_in(event) for event in events]
        parts = [(i, part) for i, found in enumerate(around) for part in parts_with_people(found, self._people)]
        looked = self._find([events[i] for i, _ in parts], [where for _, where in parts])
        for (i, where), frames in zip(parts, looked, strict=True):
            weapons = [keep_weapons(frame, where) for frame in frames]
            proved[i] += [replace(c, part=where) for c in confirm(weapons, events[i].thresholds, look="person")]
        return [surest(each) for each in proved]

    def _find(self, events: Sequence[MotionBurst], parts: Sequence[Box] | None = None) -> list[list[list[Detection]]]:
        """Detections in each frame of each event, or in a part of it; the first look logs undecodable frames.

        A frame that could not be decoded has no detections, but keeps its place in the burst. The last frames of a
        burst are skipped if the earlier ones show that it cannot confirm anything, as in most bursts.
        """
        wheres: Sequence[Box | None] = parts or [None] * len(events)
        bursts = [[(frame.jpeg, where) for frame in event.frames] for event, where in zip(events, wheres, strict=True)]
        first = self._detect_all([burst[: enough(len(burst))] for burst in bursts])
        last = self._detect_all(
            [b[len(f) :] if _is_open(f, len(b) - len(f)) else [] for b, f in zip(bursts, first, strict=True)]
        )
        found = []
        for event, *seen in zip(events, first, last, strict=True):
            frames = [each for some in seen for each in some]
            if parts is None:
                _count(event, frames)
            found.append([[] if isinstance(frame, PictureError) else frame for frame in frames])
        return found

    def _detect_all(self, bursts: Sequence[Sequence[_Job]]) -> list[list[_Seen]]:
        """Run the hazard network on some frames of each burst, in all threads."""
        detect = partial(self._detect_chunk, self._hazards)  # the same network for all, even after a switch
        jobs = [job for burst in bursts for job in burst]
        size = max(1, min(_IMAGES, -(-len(jobs) // self._threads)))
        chunks = [jobs[at : at + size] for at in range(0, len(jobs), size)]
        seen = (each for chunk in self._lanes.map(detect, chunks) for each in chunk)
        return [list(itertools.islice(seen, len(burst))) for burst in bursts]

    def _detect_chunk(self, network: Network, jobs: Sequence[_Job]) -> list[_Seen]:
        """Decode some frames, or parts of them, and run the network on them at once; one entry for each."""
        decoded = [_try_decode(jpeg, network.size_px, where) for jpeg, where in jobs]
        images = [image for image in decoded if not isinstance(image, PictureError)]
        found = iter(_timed(network, images, "hazard") if images else ())
        return [each if isinstance(each, PictureError) else next(found) for each in decoded]

    def look_around(self, jpeg: bytes, where: Box | None = None) -> tuple[list[Detection], tuple[str, ...]]:
        """People and vehicles in one picture, and the labels that were looked for.

        The network is loaded when it is first needed: hazards are rare, and loading it would lengthen each cold start.

        Args:
            jpeg: the picture.
            where: a part of it to search at higher resolution, too.
        """
        try:
            scene = self._open_scene()
            (found,) = _timed(scene, [_decode(jpeg, scene.size_px)], "scene")
            if where is not None:
                (more,) = _timed(scene, [_decode(jpeg, scene.size_px, where)], "scene")
                found = [*found, *(d for d in keep_overlapping(more, where, where) if not _is_among(d, found, where))]
        except (ModelError, PictureError) as error:
            # The alert matters more than its picture: it is published, and redaction will withhold the picture.
            log.error("scene_unknown", reason=str(error))
            return [], ()
        return found, scene.labels

    def _people_in(self, event: MotionBurst) -> list[Detection]:
        """The scene network's detections in the middle frame of a burst, or in the next one that can be decoded."""
        middle = len(event.frames) // 2
        for i in sorted(range(len(event.frames)), key=lambda i: abs(i - middle)):
            try:
                scene = self._open_scene()
                (found,) = _timed(scene, [_decode(event.frames[i].jpeg, scene.size_px)], "scene")
            except PictureError:
                continue  # logged at the first look
            except ModelError as error:
                log.error("people_unknown", camera=event.camera, event_id=event.id, reason=str(error))
                break
            return found
        return []

    def _open_scene(self) -> Network:
        if self._scene is None:
            self._scene = Network(SCENE, self._threads, self._device)
        return self._scene


def _warn_of_missing(network: Network, weights: Path) -> None:
    """Log the hazards that a network has no class for: nobody is alerted of them while it is in use."""
    missing = [hazard for hazard in HAZARDS if hazard not in network.labels]
    if missing:
        log.warning("hazards_not_searched", hazards=missing, weights=str(weights))


def _decode(jpeg: bytes, size_px: int, where: Box | None = None) -> Image:
    """Decode a frame, or a part of it, at the smallest scale that has `size_px` pixels; raises PictureError."""
    if where is None:
        return decode_jpeg(jpeg, enough_px=size_px)
    return cut(decode_jpeg(jpeg, enough_px=math.ceil(size_px / (where.x2 - where.x1))), where)


def _place_of_motion(event: MotionBurst) -> tuple[Box, Box] | None:
    """What moved, and the crop for a closer look at it; None: there is none."""
    if event.moved is None:
        return None
    where = part(event.moved)
    if where is not None:
        return event.moved, where
    decoded = [_try_decode(frame.jpeg, _MOTION_PX, None) for frame in event.frames]
    images = [image for image in decoded if not isinstance(image, PictureError)]
    alike = [image for image in images if image.shape == images[0].shape]
    where = busiest(alike) if len(alike) > 1 else None
    return (where, where) if where is not None else None


def _try_decode(jpeg: bytes, size_px: int, where: Box | None) -> Image | PictureError:
    try:
        return _decode(jpeg, size_px, where)
    except PictureError as error:
        return error


def _is_open(frames: Sequence[_Seen], more: int) -> bool:
    """Whether the remaining frames may change what a burst confirms, or whether any of it can be decoded."""
    seen = [frame for frame in frames if not isinstance(frame, PictureError)]
    return len(seen) < len(frames) or can_confirm(seen, more)


def _count(event: MotionBurst, frames: Sequence[_Seen]) -> None:
    """Count and log frames that could not be decoded.

    Raises:
        Reject: none could be decoded.
    """
    broken = [frame for frame in frames if isinstance(frame, PictureError)]
    for error in broken:
        log.warning("frame_skipped", camera=event.camera, event_id=event.id, reason=str(error))
    frames_total.labels("undecodable").inc(len(broken))
    if len(broken) == len(frames):
        raise Reject(f"none of {len(frames)} frames can be decoded")
    frames_total.labels("ok").inc(len(frames) - len(broken))
    frames_total.labels("unneeded").inc(len(event.frames) - len(frames))


def _is_among(found: Detection, others: Sequence[Detection], where: Box) -> bool:
    """Whether a detection in a crop is one of those in the whole frame, perhaps cut off by the crop."""
    box = found.box
    is_cut = min(box.x1 - where.x1, box.y1 - where.y1, where.x2 - box.x2, where.y2 - box.y2) < _EDGE
    for other in others:
        is_within = is_cut and box.shared(other.box) >= SCENE.iou * box.area
        if other.label == found.label and (is_within or box.iou(other.box) >= SCENE.iou):
            return True
    return False


def _timed(network: Network, images: Sequence[Image], name: str) -> list[list[Detection]]:
    begun = time.perf_counter()
    found = network.detect(images)
    inference_seconds.labels(name).observe(time.perf_counter() - begun)
    return found
