"""Which stretch of road each camera overlooks, from the GeoJSON file that `BONGSU_ROADS` names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from web.changed_file import ChangedFile

log = structlog.get_logger()

Direction = Literal["one", "both"]
_STREET_MIN = 2
"""Characters: CIFS takes no shorter name of a street."""


class RoadsError(ValueError):
    """The file of roads cannot be used; the message names the file, the value and the fix."""


class Stretch(Struct, frozen=True):
    """A stretch of road."""

    street: str
    line: tuple[tuple[float, float], ...]
    """Longitude and latitude of its points, two or more, in the direction of the traffic."""
    direction: Direction
    """Whether what happens here concerns the traffic along the line alone, or that of both directions."""


# What of the file is read. A GIS writes other properties and members too, which are passed over.
class _Properties(Struct):
    camera: str
    street: str
    direction: Direction = "both"


class _Line(Struct):
    type: Literal["LineString"]
    coordinates: list[list[float]]


class _Feature(Struct):
    properties: _Properties
    geometry: _Line


class _Collection(Struct):
    type: Literal["FeatureCollection"]
    features: list[_Feature]


class Roads:
    """The stretch of each camera. A changed file is noticed at once; one that cannot be read changes nothing."""

    def __init__(self, path: str) -> None:
        self._file = ChangedFile(Path(path)) if path else None
        self._stretches: Mapping[str, Stretch] = {}

    @classmethod
    def open(cls, path: str) -> Roads:
        """The file's roads; none where no file is named.

        Raises:
            RoadsError: it cannot be read, or says something that cannot be used.
        """
        roads = cls(path)
        roads._refresh()
        return roads

    @property
    def is_given(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def now(self) -> Mapping[str, Stretch]:
        """By the camera's id, as the file says now."""
        try:
            self._refresh()
        except RoadsError as error:
            log.error("roads_not_read", reason=str(error))
        return self._stretches

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            content = self._file.read()
        except OSError as error:
            raise RoadsError(f"BONGSU_ROADS: cannot read {self._file.path}: {error.strerror}") from error
        if content is not None:
            self._stretches = parse(content, str(self._file.path))


def parse(text: bytes, name: str) -> dict[str, Stretch]:
    """Read a FeatureCollection of LineStrings with the properties `camera`, `street` and perhaps `direction`.

    Raises:
        RoadsError: it is none; the message begins with `name`.
    """
    try:
        collection = msgspec.json.decode(text, type=_Collection)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RoadsError(
            f"{name} must be a GeoJSON FeatureCollection of LineStrings with the properties camera and street: {error}"
        ) from error
    found: dict[str, Stretch] = {}
    for feature in collection.features:
        camera, street = feature.properties.camera, feature.properties.street.strip()
        if camera in found:
            raise RoadsError(f"{name}: camera {camera!r} has two lines: keep one")
        if len(street) < _STREET_MIN:
            raise RoadsError(f"{name}: camera {camera!r}: street must have {_STREET_MIN} characters, got {street!r}")
        line = tuple((point[0], point[1]) for point in feature.geometry.coordinates if len(point) >= 2)
        if len(line) < 2 or len(line) < len(feature.geometry.coordinates) or not all(map(_is_on_earth, line)):
            raise RoadsError(
                f"{name}: camera {camera!r}: coordinates must be two or more [longitude, latitude] in degrees, "
                f"got {feature.geometry.coordinates!r:.80}"
            )
        found[camera] = Stretch(street, line, feature.properties.direction)
    return found


def _is_on_earth(point: tuple[float, float]) -> bool:
    lon, lat = point
    return math.isfinite(lon) and math.isfinite(lat) and abs(lon) <= 180 and abs(lat) <= 90
