"""The documents of OGC API - Features: landing page, conformance, collections and features, as JSON.

Properties are plain values, so that a GIS makes a column of each. Positions are WGS 84 longitude and latitude (CRS84).
No document says when it was made, so that its ETag holds while nothing has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from api import views
from store.records import Camera, Incident

Json = dict[str, Any]

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
GEOJSON = "application/geo+json"
_CLASSES = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
TITLES = {
    "incidents": ("Incidents", "Hazards seen by cameras, from first to last sighting. False alarms are left out."),
    "cameras": ("Cameras", "Where the cameras are, and whether they are live."),
}
"""Title and description, by the collection's id."""
_WORLD = [-180.0, -90.0, 180.0, 90.0]


def link(rel: str, href: str, kind: str = "application/json", title: str = "") -> Json:
    """A link of a document."""
    return {"rel": rel, "type": kind, "href": href} | ({"title": title} if title else {})


def landing(root: str) -> Json:
    """The landing page; `root` is its address."""
    return {
        "title": "Bongsu",
        "description": "Incidents seen by cameras",
        "links": [
            link("self", root, title="This document"),
            link("service-desc", f"{root}/api", OPENAPI, "The definition of this API"),
            link("conformance", f"{root}/conformance", title="The classes that it conforms to"),
            link("data", f"{root}/collections", title="The collections"),
        ],
    }


def conformance() -> Json:
    """The conformance classes of Part 1 that hold here."""
    return {"conformsTo": [f"{_CLASSES}/{name}" for name in ("core", "geojson", "oas30")]}


def collections(root: str, cameras: Sequence[Camera]) -> Json:
    """All collections; the cameras say where."""
    return {
        "links": [link("self", f"{root}/collections")],
        "collections": [collection(root, name, cameras) for name in TITLES],
    }


def collection(root: str, name: str, cameras: Sequence[Camera]) -> Json:
    """One collection; the cameras say where."""
    title, description = TITLES[name]
    here = f"{root}/collections/{name}"
    extent: Json = {"spatial": {"bbox": [_box(cameras)], "crs": CRS84}}
    if name == "incidents":
        calendar = "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian"
        extent["temporal"] = {"interval": [[None, None]], "trs": calendar}
    return {
        "id": name,
        "title": title,
        "description": description,
        "itemType": "feature",
        "crs": [CRS84],
        "extent": extent,
        "links": [link("self", here), link("items", f"{here}/items", GEOJSON, title)],
    }


def page(features: list[Json], links: list[Json]) -> Json:
    """Some features of a collection."""
    return views.collection(features, links=links, numberReturned=len(features))


def single(feature: Json, root: str, name: str) -> Json:
    """One feature by itself, with its links."""
    here = f"{root}/collections/{name}"
    own = f"{here}/items/{quote(str(feature['id']), safe='')}"
    return {**feature, "links": [link("self", own, GEOJSON), link("collection", here)]}


def incident(found: Incident, base: str, quiet_s: float, now: datetime) -> Json:
    """An incident; `base` is what addresses of pictures and the page begin with."""
    feature = views.incident_feature(found, quiet_s, now, prefix=base)
    kept, caption = feature["properties"], found.caption
    plain = ("hazard", "camera", "place", "region", "first_seen", "last_seen", "confidence", "sightings", "status")
    return {
        "type": "Feature",
        "id": found.id,
        "geometry": feature["geometry"],
        "properties": {
            **{name: kept[name] for name in plain},
            "confirmed": found.review is not None and not found.is_false_alarm,
            "caption_en": None if caption is None else caption.en,
            "caption_ko": None if caption is None else caption.ko,
            **{f"caption_{language}": text for language, text in (caption.others if caption else {}).items()},
            "snapshot": kept["snapshot"],
            "page": f"{base}/?incident={found.id}",
        },
    }


def camera(found: Camera, base: str) -> Json:
    """A camera; `base` is what addresses of pictures begin with."""
    feature = views.camera_feature(found, base)
    kept = {name: value for name, value in feature["properties"].items() if name != "id"}
    return {**feature, "properties": kept}


def _box(cameras: Sequence[Camera]) -> list[float]:
    if not cameras:
        return _WORLD
    lons, lats = ([getattr(one.place, name) for one in cameras] for name in ("lon", "lat"))
    return [min(lons), min(lats), max(lons), max(lats)]
