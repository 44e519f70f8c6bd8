"""Draws a small map of a district and its neighbours with a pin at a place, as a post's second picture.

The captioner draws it (its image has OpenCV) and sends it in the `captioned` event as a `privacy.drawn.Drawn`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from functions import catalogue
from functions.event import Caption, Place
from notify.captions.districts import District
from notify.captions.words import clean_name
from notify.polygon import is_inside
from privacy.drawn import Drawn, seal_drawing

if TYPE_CHECKING:
    import numpy as np

    Image = np.ndarray[Any, np.dtype[Any]]

# The page draws the same outlines, so they are stored with its files.
_PAGE_DATA = Path(__file__).parents[2] / "api/page/vendor"
OUTLINES = _PAGE_DATA / "korea/districts.geojson"
_WORLD = _PAGE_DATA / "world/land.geojson"
WIDTH, HEIGHT = 640, 360

_QUALITY = 88
_ATTRIBUTION, _ATTRIBUTION_ABROAD = "NGII, data.go.kr", "Natural Earth"
_KM_PER_DEGREE = 111.32
# Extent of the map: a district with its neighbours; abroad, where only coasts are known, part of a continent.
_SPAN_KM = (6.0, 60.0)
_ABROAD_KM = 1500.0
# Blue, green, red.
_SEA, _LAND, _HERE, _EDGE = (226, 214, 198), (236, 240, 240), (250, 252, 253), (160, 160, 160)
_INK, _PIN = (50, 44, 40), (38, 38, 217)


class LocationError(Exception):
    """The map could not be drawn; a post goes without it."""


def describe_location(place: Place, languages: Sequence[str] = catalogue.OWN) -> Caption:
    """Alternative text of the map, for people who cannot see it."""
    at = f"{abs(place.lat):.4f}°{'N' if place.lat >= 0 else 'S'}, {abs(place.lon):.4f}°{'E' if place.lon >= 0 else 'W'}"
    return Caption.of({language: _describe(place, at, language) for language in languages})


def _describe(place: Place, at: str, language: str) -> str:
    name, region = clean_name(place.name), clean_name(place.region)
    where = name or region
    if name and region and region not in name:
        where = catalogue.say(language, "map-where", name=name, region=region)
    if where:
        return catalogue.say(language, "map-pin-named", where=where, at=at)
    return catalogue.say(language, "map-pin", at=at)


@lru_cache(maxsize=64)
def draw_location(place: Place, district: District | None) -> Drawn:
    """A map of 640 by 360 pixels. Cameras do not move, so each map is drawn once.

    Args:
        place: position of the pin.
        district: its district, in Korea.

    Raises:
        LocationError: the outlines are missing, or OpenCV failed.
    """
    import cv2

    try:
        image = _draw(place, district)
        is_written, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    except (cv2.error, OSError, msgspec.DecodeError) as error:
        raise LocationError(f"no map of {place.lat}, {place.lon}: {' '.join(str(error).split())[:200]}") from error
    if not is_written:
        raise LocationError(f"no map of {place.lat}, {place.lon}: it could not be written")
    return seal_drawing(jpeg.tobytes())


Ring = list[tuple[float, float]]


class _Geometry(msgspec.Struct):
    coordinates: list[list[Ring]]


class _Outline(msgspec.Struct):
    geometry: _Geometry

    def holds(self, lon: float, lat: float) -> bool:
        return any(is_inside(lon, lat, rings[0]) for rings in self.geometry.coordinates)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        points = [point for rings in self.geometry.coordinates for point in rings[0]]
        lons, lats = [p[0] for p in points], [p[1] for p in points]
        return min(lons), min(lats), max(lons), max(lats)


class _Collection(msgspec.Struct):
    features: list[_Outline]


@lru_cache(maxsize=2)
def _outlines(path: Path) -> list[_Outline]:
    return msgspec.json.decode(path.read_bytes(), type=_Collection).features


@dataclass(frozen=True, slots=True)
class _View:
    """Projects degrees to pixels; a flat earth is accurate enough at this scale."""

    lat: float
    lon: float
    km_per_px: float

    def pixel(self, lon: float, lat: float) -> tuple[int, int]:
        east = (lon - self.lon) * _KM_PER_DEGREE * max(math.cos(math.radians(self.lat)), 0.01)
        north = (lat - self.lat) * _KM_PER_DEGREE
        # OpenCV takes 32-bit coordinates, 16 bits of which are fractional.
        x, y = WIDTH / 2 + east / self.km_per_px, HEIGHT / 2 - north / self.km_per_px
        return round(min(max(x, -30000), 30000)), round(min(max(y, -30000), 30000))


def _draw(place: Place, district: District | None) -> Image:
    import cv2
    import numpy as np

    districts = _outlines(OUTLINES)
    here = next((outline for outline in districts if outline.holds(place.lon, place.lat)), None)
    view = _View(place.lat, place.lon, _span_km(here) / HEIGHT)
    image = np.full((HEIGHT, WIDTH, 3), _SEA, np.uint8)
    if here is None:
        # The world's outlines leave out South Korea, which the districts cover.
        for outline in (*_outlines(_WORLD), *districts):
            _draw_outline(image, view, outline, _LAND, 0)
    else:
        for outline in sorted(districts, key=lambda other: other is here):
            _draw_outline(image, view, outline, _HERE if outline is here else _LAND, 2 if outline is here else 1)
    x, y = WIDTH // 2, HEIGHT // 2
    # A drop whose tip is the place.
    cv2.fillPoly(image, [np.array([(x - 9, y - 20), (x + 9, y - 20), (x, y)], np.int32)], _PIN, cv2.LINE_AA)
    cv2.circle(image, (x, y - 24), 11, _PIN, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(image, (x, y - 24), 4, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
    _write(image, clean_name(place.name), (14, 30), 20)
    region = f"{district.ko} · {district.en}" if district is not None else clean_name(place.region)
    _write(image, region, (14, 54), 15)
    _write(image, f"{place.lat:.4f}, {place.lon:.4f}", (14, HEIGHT - 14), 13)
    _draw_scale(image, view)
    _write(image, _ATTRIBUTION if here is not None else _ATTRIBUTION_ABROAD, (WIDTH - 14, 24), 11, is_right=True)
    return image


def _span_km(here: _Outline | None) -> float:
    """Height of the map in km."""
    if here is None:
        return _ABROAD_KM
    west, south, east, north = here.bounds
    tall = (north - south) * _KM_PER_DEGREE
    wide = (east - west) * _KM_PER_DEGREE * math.cos(math.radians((north + south) / 2)) * HEIGHT / WIDTH
    return min(max(1.6 * max(tall, wide), _SPAN_KM[0]), _SPAN_KM[1])


def _draw_outline(image: Image, view: _View, outline: _Outline, colour: Sequence[int], width: int) -> None:
    import cv2
    import numpy as np

    for rings in outline.geometry.coordinates:
        points = np.array([view.pixel(*point) for point in rings[0]], np.int32)
        if (points.max(axis=0) < 0).any() or (points.min(axis=0) > (WIDTH, HEIGHT)).any():
            continue
        cv2.fillPoly(image, [points], colour, cv2.LINE_AA)
        if width:
            cv2.polylines(image, [points], True, _EDGE if width == 1 else _INK, width, cv2.LINE_AA)


def _draw_scale(image: Image, view: _View) -> None:
    import cv2

    km = max(k for k in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if k / view.km_per_px <= WIDTH / 4)
    right, y = WIDTH - 14, HEIGHT - 14
    left = right - round(km / view.km_per_px)
    cv2.line(image, (left, y), (right, y), _INK, 2)
    for x in (left, right):
        cv2.line(image, (x, y - 5), (x, y), _INK, 2)
    _write(image, f"{km:g} km" if km >= 1 else f"{km * 1000:g} m", (right, y - 9), 13, is_right=True)


def _write(image: Image, text: str, at: tuple[int, int], size: int, *, is_right: bool = False) -> None:
    """Draw text on a light background; OpenCV 5 includes outline fonts with Latin and Hangul."""
    import cv2

    font = _font()
    while text and cv2.getTextSize((WIDTH, HEIGHT), text, (0, 0), font, size)[2] > WIDTH * 0.6:
        text = text[:-2].rstrip() + "…"
    if not text:
        return
    _, y, width, height = cv2.getTextSize((WIDTH, HEIGHT), text, (0, 0), font, size)
    left = at[0] - width if is_right else at[0]
    ground = image[max(at[1] + y - 4, 0) : at[1] + y + height + 4, max(left - 6, 0) : left + width + 6]
    ground[:] = (ground * 0.25 + 191).astype(ground.dtype)
    cv2.putText(image, text, (left, at[1]), _INK, font, size)


@lru_cache(maxsize=1)
def _font() -> Any:
    import cv2

    return cv2.FontFace("uni")
