"""Public views of records: GeoJSON features and JSON Feed items; the API and the live stream use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from api import words
from functions import catalogue
from functions.event import Caption, Stage, utc_now
from functions.hazards import HAZARDS, KINDS
from store.records import Camera, Incident, Post, Review

Json = dict[str, Any]

# The stages before a sighting is on the map.
_STAGES = ("motion", "detect", "map", "caption")


def hazard_table(languages: Sequence[str]) -> Json:
    """All hazards: their names in English, Korean and these languages, and how the page draws them."""
    names = [
        {"name": hazard, "title": words.titles_of(hazard, languages), "look": asdict(KINDS[hazard].look)}
        for hazard in HAZARDS
    ]
    return {"hazards": names}


def incident_feature(
    incident: Incident, quiet_s: float, now: datetime | None = None, *, prefix: str = "", for_operator: bool = False
) -> Json:
    """An incident as a GeoJSON Feature; `status` is as of `now`, and its addresses begin with `prefix`.

    While its alert is held only operators get its caption and the address of its picture.
    """
    is_shown = for_operator or not incident.is_held
    by_time = "open" if incident.is_open(now or utc_now(), quiet_s) else "closed"
    has_snapshot = incident.snapshot_key is not None and is_shown
    return {
        "type": "Feature",
        "id": incident.id,
        "geometry": _point(incident.place.lon, incident.place.lat),
        "properties": {
            "id": incident.id,
            "hazard": incident.hazard,
            "camera": incident.camera,
            "place": incident.place.name,
            "region": incident.place.region,
            "first_seen": timestamp(incident.first_seen),
            "last_seen": timestamp(incident.last_seen),
            "confidence": round(incident.confidence, 4),
            "sightings": incident.sightings,
            "status": "false_alarm" if incident.is_false_alarm else "held" if incident.is_held else by_time,
            "review": None if incident.review is None else _review(incident.review),
            "late": incident.late,
            "caption": None if incident.caption is None or not is_shown else _caption(incident.caption),
            # The revision changes the address with the picture, so it may be cached.
            "snapshot": f"{prefix}/api/incidents/{incident.id}/snapshot?v={incident.revision}"
            if has_snapshot
            else None,
            "pin_s": round(incident.pin_s, 3),
        },
    }


def encode(content: Json) -> bytes:
    """A record as JSON."""
    return msgspec.json.encode(content)


def picture_version(key: str) -> str:
    """The part of an address that changes with the picture."""
    return key[3:15]


def stages(first_sighting: Sequence[Stage], posts: Sequence[Post] = ()) -> list[Json]:
    """The stages of an incident, for its own page: those of its first sighting, then its first post.

    Args:
        first_sighting: its stages; its post stage is left out, as it may have posted nothing.
        posts: of the incident, in the order they went out.
    """
    passed = [stage for stage in first_sighting if stage.name in _STAGES]
    # Claimed when the poster got it; after a failed attempt, when the successful attempt did.
    sent = [Stage("post", post.claimed_at, post.posted_at) for post in posts[:1]]
    return [
        {"name": stage.name, "got_at": timestamp(stage.got_at), "done_at": timestamp(stage.done_at)}
        for stage in (*passed, *sent)
    ]


def camera_feature(camera: Camera, prefix: str = "") -> Json:
    """A camera as a GeoJSON Feature; its addresses begin with `prefix`."""
    key = camera.snapshot_key
    at = f"{prefix}/api/cameras/{quote(camera.id, safe='')}/snapshot"
    return {
        "type": "Feature",
        "id": camera.id,
        "geometry": _point(camera.place.lon, camera.place.lat),
        "properties": {
            "id": camera.id,
            "place": camera.place.name,
            "region": camera.place.region,
            "status": camera.status,
            "changed_at": timestamp(camera.changed_at),
            "snapshot": f"{at}?v={picture_version(key)}" if key else None,
            "snapshot_at": None if camera.snapshot_at is None else timestamp(camera.snapshot_at),
        },
    }


def collection(features: list[Json], **members: Any) -> Json:
    """Features as a GeoJSON FeatureCollection, with foreign members."""
    return {"type": "FeatureCollection", "features": features, **members}


def title(incident: Incident, language: str = "en") -> str:
    """The title of an alert in a list."""
    return " · ".join(filter(None, (words.title_of(incident.hazard, language), incident.place.name)))


def said(text: Caption, language: str) -> str:
    """A post's text for a reader of that language: in English and Korean, or in another one if it has it."""
    own = "" if language in catalogue.OWN else text.text(language)
    return own or f"{text.en}\n{text.ko}"


def feed_item(post: Post, base: str, sizes: Mapping[str, int] | None = None, language: str = "en") -> Json:
    """A post as an item of a JSON Feed 1.1.

    Args:
        post: the post.
        base: the prefix of its addresses.
        sizes: sizes of pictures in bytes, by key.
        language: the reader's.
    """
    incident = post.incident
    item: Json = {
        "id": f"bongsu-post-{post.id}",
        "url": f"{base}/?incident={incident.id}",
        "title": title(incident, language),
        "content_text": said(post.text, language),
        "date_published": timestamp(post.posted_at),
        "tags": [incident.hazard],
        "_bongsu": {
            "incident": incident.id,
            "hazard": incident.hazard,
            "place": incident.place.name,
            "region": incident.place.region,
            "caption": _caption(post.text),
            "revision": post.revision,
        },
    }
    if post.snapshot_key is not None:
        item["image"] = f"{base}/api/posts/{post.id}/snapshot"
    if post.location_key is not None:
        map_url = f"{base}/api/posts/{post.id}/location"
        attached: Json = {"url": map_url, "mime_type": "image/jpeg", "title": catalogue.say(language, "feed-map")}
        if (size := (sizes or {}).get(post.location_key)) is not None:
            attached["size_in_bytes"] = size
        item["attachments"] = [attached]
    return item


def feed(posts: Sequence[Post], base: str, sizes: Mapping[str, int] | None = None, language: str = "en") -> Json:
    """Posts, newest first, as a JSON Feed 1.1; arguments as for `feed_item`."""
    return {
        "version": "https://jsonfeed.org/version/1.1",
        "title": catalogue.say(language, "feed-title"),
        "description": catalogue.say(language, "feed-subtitle", hazards=words.list_hazards(language)),
        "language": language,
        "home_page_url": f"{base}/",
        "feed_url": f"{base}/feed.json",
        "items": [feed_item(post, base, sizes, language) for post in posts],
    }


def timestamp(at: datetime) -> str:
    """A UTC time as ISO 8601 with milliseconds and Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _point(lon: float, lat: float) -> Json:
    return {"type": "Point", "coordinates": [lon, lat]}


def _review(review: Review) -> Json:
    return {"verdict": review.verdict, "by": review.by, "at": timestamp(review.at), "note": review.note}


def _caption(caption: Caption) -> Json:
    return caption.texts
