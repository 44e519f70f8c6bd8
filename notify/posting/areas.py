"""Parts of the world that a target of alerts asks for: circles, polygons and regions."""

from __future__ import annotations

from msgspec import Struct

from functions.event import Place
from notify.polygon import is_inside


class Circle(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything within a distance."""

    lat: float
    lon: float
    radius_m: float


class Area(Struct, frozen=True, forbid_unknown_fields=True):
    """A place is in it where it is in any of its parts; without parts it is everywhere."""

    circle: Circle | None = None
    polygon: tuple[tuple[float, float], ...] = ()
    """Corners as (lat, lon), at least three; the last is joined to the first. It must not cross the date line."""
    regions: tuple[str, ...] = ()
    """Names as in `place.region` of cameras.yaml."""

    def __post_init__(self) -> None:
        if self.polygon and len(self.polygon) < 3:
            raise ValueError(f"polygon must have 3 corners or more, got {len(self.polygon)}")
        points = (*self.polygon, *([] if self.circle is None else [(self.circle.lat, self.circle.lon)]))
        for lat, lon in points:
            if not (-90 <= lat <= 90 and -180 <= lon <= 180):
                raise ValueError(f"area: a point is [lat, lon] in degrees, got [{lat}, {lon}]")
        if self.circle is not None and not self.circle.radius_m > 0:
            raise ValueError(f"circle: radius_m must be over 0, got {self.circle.radius_m}")

    def holds(self, place: Place) -> bool:
        """Whether a place is in it."""
        if self.circle is None and not self.polygon and not self.regions:
            return True
        near = self.circle is not None and place.distance_m(self.circle.lat, self.circle.lon) <= self.circle.radius_m
        return near or place.region in self.regions or is_inside(place.lat, place.lon, self.polygon)
