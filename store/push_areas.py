"""The area that a reader wants to be warned about: a circle around a place, or a corridor along a route."""

from __future__ import annotations

import math
from typing import Annotated, cast

import msgspec
from msgspec import Meta, Struct

from functions.event import Place

_DEGREE_M = 111_195.0
"""Metres in a degree of latitude, on the sphere of `Place.distance_m`."""

Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
Box = tuple[float, float, float, float]
"""South, west, north, east in degrees."""


class Circle(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="circle"):
    """Everything within a distance of a place."""

    lat: Lat
    lon: Lon
    radius_m: Annotated[float, Meta(ge=100, le=200_000)]

    def holds(self, lat: float, lon: float) -> bool:
        """Whether a place lies in it."""
        return Place(lat, lon, "").distance_m(self.lat, self.lon) <= self.radius_m

    def box(self) -> Box:
        """What surely encloses it."""
        return _around([(self.lat, self.lon)], self.radius_m)


class Route(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="route"):
    """Everything within a distance of a line."""

    points: Annotated[tuple[tuple[Lat, Lon], ...], Meta(min_length=2, max_length=300)]
    """Latitude and longitude, in the order in which they are passed."""
    width_m: Annotated[float, Meta(ge=50, le=20_000)]
    """How far the corridor reaches to either side."""

    def holds(self, lat: float, lon: float) -> bool:
        """Whether a place lies in the corridor."""
        legs = zip(self.points, self.points[1:], strict=False)
        return any(_distance_m(lat, lon, begin, end) <= self.width_m for begin, end in legs)

    def box(self) -> Box:
        """What surely encloses it."""
        return _around(self.points, self.width_m)


Area = Circle | Route


def encode_area(area: Area) -> str:
    """The area as text, with coordinates rounded to 11 m: a subscription need not say where one lives."""
    built = msgspec.to_builtins(area)
    if isinstance(area, Circle):
        built |= {"lat": round(area.lat, 4), "lon": round(area.lon, 4)}
    else:
        built["points"] = [(round(lat, 4), round(lon, 4)) for lat, lon in area.points]
    return msgspec.json.encode(built).decode()


def decode_area(text: str) -> Area:
    """The area of such a text."""
    return cast(Area, msgspec.json.decode(text, type=Area))


def _distance_m(lat: float, lon: float, begin: tuple[float, float], end: tuple[float, float]) -> float:
    """Metres from a place to a leg of a route, on a plane around the place: exact enough for legs of some 100 km."""
    (x1, y1), (x2, y2) = (_project(lat, lon, point) for point in (begin, end))
    dx, dy = x2 - x1, y2 - y1
    length = dx * dx + dy * dy
    share = 0.0 if length == 0 else max(0.0, min(1.0, -(x1 * dx + y1 * dy) / length))
    return math.hypot(x1 + share * dx, y1 + share * dy)


def _project(lat: float, lon: float, point: tuple[float, float]) -> tuple[float, float]:
    """A point in metres east and north of a place; across the date line, the short way."""
    east = (point[1] - lon + 180) % 360 - 180
    return east * _DEGREE_M * math.cos(math.radians((lat + point[0]) / 2)), (point[0] - lat) * _DEGREE_M


def _around(points: list[tuple[float, float]] | tuple[tuple[float, float], ...], margin_m: float) -> Box:
    lats, lons = [lat for lat, _ in points], [lon for _, lon in points]
    # A little more than the margin: coordinates are rounded, and a degree is a little longer on the ellipsoid.
    tall = margin_m * 1.01 / _DEGREE_M + 0.001
    south, north = min(lats) - tall, max(lats) + tall
    narrowest = math.cos(math.radians(min(89.9, max(abs(south), abs(north)))))
    wide = tall / narrowest
    west, east = min(lons) - wide, max(lons) + wide
    # Across the date line or around a pole, any longitude may be inside: the exact test decides.
    if west < -180 or east > 180 or east - west > 180:
        west, east = -180.0, 180.0
    return south, west, north, east
