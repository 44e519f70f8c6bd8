"""Makes the outline of the world's land for the page; needs shapely.

    npm pack world-atlas@2.0.2           # contains Natural Earth 4.1 as TopoJSON; unpack it
    python tools/world_outline.py countries-50m.json api/page/vendor/world/land.geojson

It is detailed around Korea and coarse far from it, has no borders between countries, and leaves out South Korea, whose
provinces the page draws from better data.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from shapely import get_parts, make_valid, union_all
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape
from shapely.geometry.base import BaseGeometry

SOUTH_KOREA, NORTH_KOREA = "410", "408"
KOREA = (127.8, 36.5)
# Its coast in the better data differs by some hundredths of a degree: cut wider, so that this one never shows.
_CUT_DEGREES = 0.25
# The northern borders of the two differ by less than this: the land extends under the provinces, so no gap shows.
_UNDERLAP_DEGREES = 0.12
Point = tuple[float, float]


def read_countries(path: Path) -> dict[str, BaseGeometry]:
    """The countries of a TopoJSON by ISO 3166 number; those without one get a made-up id."""
    topology = json.loads(path.read_text("utf-8"))
    (scale_x, scale_y), (origin_x, origin_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs: list[list[Point]] = []
    for steps in topology["arcs"]:
        x = y = 0
        arc = []
        for step_x, step_y in steps:
            x, y = x + step_x, y + step_y
            arc.append((x * scale_x + origin_x, y * scale_y + origin_y))
        arcs.append(arc)
    geometries = topology["objects"]["countries"]["geometries"]
    return {each.get("id", f"other {n}"): _country(each, arcs) for n, each in enumerate(geometries)}


def _country(geometry: dict[str, Any], arcs: list[list[Point]]) -> BaseGeometry:
    polygons = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    rings = [[_unwind(_ring(ring, arcs)) for ring in polygon] for polygon in polygons]
    return cut_at_date_line(make_valid(shape({"type": "MultiPolygon", "coordinates": rings})))


def cut_at_date_line(land: BaseGeometry) -> BaseGeometry:
    """Split land that crosses the 180th meridian into parts on either side of it."""
    parts = [translate(land.intersection(box(turn - 180, -90, turn + 180, 90)), -turn) for turn in (-360, 0, 360)]
    return union_all(parts)


def _unwind(ring: list[Point]) -> list[Point]:
    """A ring without jumps from one side of the map to the other; a ring around a pole is closed along the pole."""
    line = [ring[0]]
    for x, y in ring[1:]:
        line.append((x - 360 * round((x - line[-1][0]) / 360), y))
    (first, _), (last, south) = line[0], line[-1]
    if abs(last - first) > 180:
        pole = math.copysign(90, south)
        line += [(last, pole), (first, pole), line[0]]
    return line


def _ring(numbers: list[int], arcs: list[list[Point]]) -> list[Point]:
    points: list[Point] = []
    for number in numbers:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        points += arc[1:] if points else arc
    return points


def land_around_korea(countries: dict[str, BaseGeometry]) -> BaseGeometry:
    """All land except South Korea, with a small overlap at its northern border."""
    south, north = countries[SOUTH_KOREA], countries[NORTH_KOREA]
    others = union_all([each for number, each in countries.items() if number not in (SOUTH_KOREA, NORTH_KOREA)])
    underlap = south.intersection(north.buffer(_UNDERLAP_DEGREES))
    land = union_all([others.difference(south.buffer(_CUT_DEGREES)), north, underlap])
    # Web Mercator ends at 85 degrees.
    return land.intersection(box(-180, -85, 180, 85))


def tolerance(point: Point) -> float:
    """How far a line may move at `point`, in degrees: about a pixel at zoom 9 near Korea, at zoom 4 far away."""
    away = math.hypot(point[0] - KOREA[0], point[1] - KOREA[1])
    return min(0.12, 0.006 + 0.0022 * max(0.0, away - 4))


def simplify(points: list[Point]) -> list[Point]:
    """Simplify a line (Douglas and Peucker 1973) with a tolerance that depends on the position; its ends stay."""
    kept = {0, len(points) - 1}
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        far, at = 0.0, 0
        for index in range(first + 1, last):
            ratio = _distance(points[index], points[first], points[last]) / tolerance(points[index])
            if ratio > far:
                far, at = ratio, index
        if far > 1:
            kept.add(at)
            spans += [(first, at), (at, last)]
    return [points[index] for index in sorted(kept)]


def _distance(point: Point, start: Point, end: Point) -> float:
    (x, y), (x1, y1), (x2, y2) = point, start, end
    length = math.hypot(x2 - x1, y2 - y1)
    if length == 0:
        return math.hypot(x - x1, y - y1)
    along = max(0.0, min(1.0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length**2))
    return math.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1))


def plain(polygon: Polygon) -> Polygon | None:
    """One island or continent, simplified; None if it is too small to be visible."""
    center = (polygon.representative_point().x, polygon.representative_point().y)
    if polygon.area < 6 * tolerance(center) ** 2:
        return None
    rings = [_simplify_ring(list(ring.coords)) for ring in (polygon.exterior, *polygon.interiors)]
    lakes = [ring for ring in rings[1:] if len(ring) >= 4 and Polygon(ring).area > 20 * tolerance(center) ** 2]
    return Polygon(rings[0], lakes) if len(rings[0]) >= 4 else None


def _simplify_ring(points: list[Point]) -> list[Point]:
    # A ring starts and ends in one point: split it at the farthest other one, or it would collapse to that point.
    start = points[0]
    half = max(range(len(points)), key=lambda index: math.dist(points[index], start))
    line = simplify(points[: half + 1])[:-1] + simplify(points[half:])
    digits = 3 if tolerance(start) < 0.03 else 2
    return [(round(x, digits), round(y, digits)) for x, y in line]


def main(source: str, target: str) -> None:
    """Read the countries, write the outline."""
    land = land_around_korea(read_countries(Path(source)))
    parts = [plain(part) for part in get_parts(land) if isinstance(part, Polygon)]
    kept = MultiPolygon([part for part in parts if part is not None])
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(kept)}
    text = json.dumps({"type": "FeatureCollection", "features": [feature]}, separators=(",", ":"))
    Path(target).write_text(text + "\n", "utf-8")
    print(f"{target}: {len(kept.geoms)} pieces of land, {len(text) / 1024:.0f} KiB")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/world_outline.py COUNTRIES_TOPOJSON OUT_GEOJSON")
    main(sys.argv[1], sys.argv[2])
