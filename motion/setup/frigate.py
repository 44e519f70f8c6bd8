"""Takes over the cameras of Frigate's configuration: streams by role, motion masks and zones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from motion.edit import CamerasText
from motion.setup.credentials import Vault
from motion.setup.entries import Proposal, known_streams, same_stream, unused_id
from motion.setup.marked import Imported, ImportFileError, Keys, Marked, read_marked
from motion.setup.sources import SourceError, Sources

_FINEST = 4  # decimals of a fraction of the picture: a tenth of a pixel
_MOST_ZONES, _MOST_CORNERS = 16, 64
_TOP = {
    "mqtt": "channels are set in the environment (docs/channels.md)",
    "detectors": "the detector is set in the environment (docs/detector.md)",
    "model": "the detector's networks are listed in docs/detector.md",
    "objects": "hazards are looked for, not objects (docs/detector.md)",
    "record": "nothing is recorded here",
    "snapshots": "an alert has its picture (docs/privacy.md)",
    "motion": "defaults of the gate: see 'sensitivity' in cameras.example.yaml",
    "version": "Frigate's own",
}
_CAMERA = {
    "objects": "hazards are looked for, not objects: 'thresholds' in cameras.example.yaml",
    "record": "nothing is recorded here",
    "snapshots": "an alert has its picture (docs/privacy.md)",
    "audio": "only pictures are looked at",
    "onvif": "nothing moves the camera",
    "ui": "Frigate's own",
    "review": "incidents are reviewed in the map (docs/operate.md)",
}
_ZONE = dict.fromkeys(("objects", "inertia", "loitering_time", "filters"), "a zone has a name and a polygon here")


def read_frigate(path: Path, text: CamerasText, vault: Vault) -> Imported:
    """Read Frigate's config.yml.

    Args:
        path: the file.
        text: the cameras that there are already.
        vault: takes the passwords of the URLs.

    Raises:
        ImportFileError: it cannot be read, or has no mapping `cameras`.
    """
    file = read_marked(path)
    cameras = file.data.get("cameras")
    if not isinstance(cameras, dict) or not cameras:
        raise ImportFileError(f"{path}: has no 'cameras:': give Frigate's config.yml")
    sources = Sources(_mapping(_mapping(file.data.get("go2rtc")).get("streams")), vault)
    known, taken = known_streams(text), {str(entry.get("id")) for entry in text.entries}
    found = []
    for name, camera in cameras.items():
        keys: Keys = ("cameras", str(name))
        try:
            url, sub = _streams(file, keys, _mapping(camera), sources)
        except SourceError as error:
            file.leave_out(keys, str(error))
            continue
        if (there := known.get(same_stream(url))) is not None:
            file.leave_out(keys, f"is in the file already, as {there}")
            continue
        found.append(Proposal(unused_id(str(name), taken), url, sub, _fields(file, keys, _mapping(camera))))
        taken.add(found[-1].id)
    file.leave_out_others((), ("cameras", "go2rtc", "detect", "ffmpeg"), _TOP)
    return Imported(tuple(found), file.left_out)


def _streams(file: Marked, keys: Keys, camera: dict[str, Any], sources: Sources) -> tuple[str, str | None]:
    """The stream for pictures and the one to look for motion in, where that is another."""
    if camera.get("enabled") is False:
        raise SourceError("is switched off (enabled: false)")
    inputs = _mapping(camera.get("ffmpeg")).get("inputs")
    by_role: dict[str, str] = {}
    problems: list[tuple[int, SourceError]] = []
    for number, given in enumerate(inputs if isinstance(inputs, list) else []):
        roles = [str(role) for role in _list(_mapping(given).get("roles"))] or ["detect"]
        try:
            url = sources.url(_mapping(given).get("path"))
        except SourceError as error:
            problems.append((number, error))
            continue
        by_role |= {role: url for role in roles if role not in by_role}
    pictures = by_role.get("record") or by_role.get("detect")
    if pictures is None:
        raise problems[0][1] if problems else SourceError("has no input with the role detect or record")
    for number, problem in problems:
        file.leave_out((*keys, "ffmpeg", "inputs", number, "path"), str(problem))
    detect = by_role.get("detect")
    return pictures, detect if detect != pictures else None


def _fields(file: Marked, keys: Keys, camera: dict[str, Any]) -> dict[str, Any]:
    size = _size(file, camera)
    fields: dict[str, Any] = {}
    if masks := _masks(file, (*keys, "motion"), _mapping(camera.get("motion")), size):
        fields["masks"] = masks
    if zones := _zones(file, (*keys, "zones"), _mapping(camera.get("zones")), size):
        fields["zones"] = zones
    file.leave_out_others(keys, ("enabled", "ffmpeg", "detect", "motion", "zones", "friendly_name"), _CAMERA)
    if "motion" in camera:
        why = "the gate works in another way: see 'sensitivity' in cameras.example.yaml"
        others = [str(key) for key in _mapping(camera["motion"]) if key not in ("mask", "enabled")]
        file.leave_out_others((*keys, "motion"), ("mask", "enabled"), dict.fromkeys(others, why))
    return fields


def _size(file: Marked, camera: dict[str, Any]) -> tuple[float, float] | None:
    """Size of the picture in which coordinates in pixels are given, None where the file does not state it."""
    detect = {**_mapping(file.data.get("detect")), **_mapping(camera.get("detect"))}
    width, height = detect.get("width"), detect.get("height")
    return (float(width), float(height)) if isinstance(width, int) and isinstance(height, int) else None


def _masks(file: Marked, keys: Keys, motion: dict[str, Any], size: tuple[float, float] | None) -> list[Any]:
    given = motion.get("mask")
    named: list[tuple[str | int, Any]] = []
    if isinstance(given, dict):  # newer versions name them
        for key, mask in given.items():
            if _mapping(mask).get("enabled") is False:
                file.leave_out((*keys, "mask", str(key)), "is switched off (enabled: false)")
            else:
                named.append((str(key), _mapping(mask).get("coordinates")))
    else:
        is_one = not isinstance(given, list) or all(isinstance(n, int | float) for n in given)
        named = list(enumerate([given] if is_one else given)) if given else []
    found = []
    for key, coordinates in named:
        polygon = _polygon(file, (*keys, "mask", key), coordinates, size)
        found += [polygon] if polygon else []
    return found


def _zones(file: Marked, keys: Keys, zones: dict[str, Any], size: tuple[float, float] | None) -> list[Any]:
    found: list[Any] = []
    for name, zone in zones.items():
        file.leave_out_others((*keys, str(name)), ("coordinates", "friendly_name", "enabled"), _ZONE)
        if _mapping(zone).get("enabled") is False:
            file.leave_out((*keys, str(name)), "is switched off (enabled: false)")
            continue
        polygon = _polygon(file, (*keys, str(name)), _mapping(zone).get("coordinates"), size)
        if polygon is None:
            continue
        if len(polygon) > _MOST_CORNERS or len(found) == _MOST_ZONES:
            limit = f"{_MOST_CORNERS} corners" if len(polygon) > _MOST_CORNERS else f"{_MOST_ZONES} zones"
            file.leave_out((*keys, str(name)), f"{limit} are the most")
            continue
        words = " ".join(str(_mapping(zone).get("friendly_name") or str(name).replace("_", " ")).split())[:60]
        found.append({"name": words, "polygon": polygon})
    return found


def _polygon(file: Marked, keys: Keys, given: object, size: tuple[float, float] | None) -> list[list[float]] | None:
    """Corners in fractions of the picture, from `x,y,x,y` in fractions or pixels; None, and recorded, if unusable."""
    try:
        numbers = [float(part) for part in re.split(r"[,\s]+", _joined(given)) if part]
    except ValueError:
        file.leave_out(keys, "its coordinates are not numbers")
        return None
    if len(numbers) < 6 or len(numbers) % 2:
        file.leave_out(keys, f"has {len(numbers)} numbers: three corners or more are needed, x and y of each")
        return None
    scale = (1.0, 1.0)
    if max(numbers) > 1:
        if size is None:
            file.leave_out(keys, "is in pixels: give detect.width and detect.height, in which they count")
            return None
        scale = size
    fractions = [min(1.0, max(0.0, round(n / scale[i % 2], _FINEST))) for i, n in enumerate(numbers)]
    return [[x, y] for x, y in zip(fractions[::2], fractions[1::2], strict=True)]


def _joined(given: object) -> str:
    return ",".join(str(part) for part in given) if isinstance(given, list) else str(given or "")


def _mapping(value: object) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
