"""What events are made of: detections, frames, places, captions, zones and stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from functions.event.geometry import Box

_EARTH_M = 6_371_009.0
"""Mean radius of the Earth."""


class Detection(Struct, frozen=True):
    """One object that a network found in one frame."""

    label: str
    confidence: float
    box: Box

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be in [0, 1], got {self.confidence}")


class Frame(Struct, frozen=True):
    """One camera picture: JPEG bytes and when it was captured (UTC)."""

    jpeg: bytes
    captured_at: datetime

    def __post_init__(self) -> None:
        require_utc("frame.captured_at", self.captured_at)


class Place(Struct, frozen=True):
    """Where a camera stands: WGS 84 degrees, a name people know, and the region that serves it."""

    lat: float
    lon: float
    name: str
    region: str = ""

    def __post_init__(self) -> None:
        if not (-90 <= self.lat <= 90 and -180 <= self.lon <= 180):
            raise ValueError(f"place must have lat in [-90, 90] and lon in [-180, 180], got ({self.lat}, {self.lon})")

    def distance_m(self, lat: float, lon: float) -> float:
        """Metres to a point (WGS 84 degrees) along the ground, on a sphere: within 0.6 % of the true distance."""
        here, there = math.radians(self.lat), math.radians(lat)
        across = math.radians(lon - self.lon)
        half = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(across / 2) ** 2
        return 2 * _EARTH_M * math.asin(math.sqrt(min(1.0, half)))


class Caption(Struct, frozen=True, omit_defaults=True):
    """An alert's text, in each language."""

    en: str
    ko: str
    others: dict[str, str] = {}
    """In further languages, by their codes (BCP 47); left out of the wire form where there are none."""

    def text(self, language: str) -> str:
        """The text in a language; empty if there is none."""
        return self.texts.get(language, "")

    @property
    def texts(self) -> dict[str, str]:
        """Every language's text, English and Korean first."""
        return {"en": self.en, "ko": self.ko, **self.others}

    @staticmethod
    def of(texts: Mapping[str, str]) -> Caption:
        """The caption with these texts, by language; English or Korean are empty where missing."""
        others = {language: text for language, text in texts.items() if language not in ("en", "ko")}
        return Caption(texts.get("en", ""), texts.get("ko", ""), others)


class Zone(Struct, frozen=True, array_like=True):
    """A named part of a camera's view: a polygon of (x, y) in fractions [0, 1] of the frame."""

    name: Caption
    polygon: tuple[tuple[float, float], ...]

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is inside; a point on the edge may count as either."""
        is_inside = False
        for (x1, y1), (x2, y2) in zip(self.polygon, (*self.polygon[1:], *self.polygon[:1]), strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                is_inside = not is_inside
        return is_inside


class Stage(Struct, frozen=True):
    """One step of an event's way: when the stage got it, and when it had published or finished it (UTC)."""

    name: str
    got_at: datetime
    done_at: datetime

    def __post_init__(self) -> None:
        require_utc("stage.got_at", self.got_at)
        require_utc("stage.done_at", self.done_at)


def require_utc(name: str, at: datetime) -> None:
    """Check that a time is in UTC.

    Raises:
        ValueError: it is naive, or in another time zone; the message begins with `name`.
    """
    offset = at.utcoffset()
    if offset is None or not math.isclose(offset.total_seconds(), 0):
        raise ValueError(f"{name} must be UTC, got {at.isoformat()}")
