"""What should be retained for one camera: plain functions of what the database says, without a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from functions import catalogue
from functions.event import HAZARDS, Hazard, Place
from notify.mqtt.topics import Topics, attributes, slug
from privacy.redact import Redacted, require_redacted
from store.records import Camera, Incident

STATES = ("live", "lost", "frozen", "unknown")


@dataclass(slots=True)
class View:
    """One camera as it is shown: its state, the newest incident of each class, and a picture."""

    id: str
    place: Place
    camera: Camera | None = None
    """None where it has never reported."""
    incidents: dict[Hazard, Incident] = field(default_factory=dict)
    picture_key: str | None = None
    picture: Redacted | None = None
    """The picture with that key; None where it is withheld, deleted or of a false alarm."""

    def pictured(self) -> str | None:
        """Key of the picture to show: that of the newest incident with one, not of a false alarm or a held alert."""
        shown = (i for i in self.incidents.values() if i.is_public)
        seen = [i for i in shown if i.snapshot_key is not None]
        return max(seen, key=lambda incident: (incident.last_seen, incident.id)).snapshot_key if seen else None


@dataclass(frozen=True, slots=True)
class Site:
    """What holds for all cameras."""

    topics: Topics
    quiet_s: float
    public_url: str = ""
    """Without a slash at its end; empty where there are no links."""
    language: str = "en"
    """Of the names that Home Assistant shows."""


def compose(view: View, site: Site, now: datetime) -> dict[str, bytes]:
    """All that should be retained for a camera, by topic, in the order it is to be published.

    Discovery comes first. The state of a class comes after its attributes and the picture: an automation that an `ON`
    starts finds both. A topic that should have nothing has an empty message, which deletes it on the server.
    """
    topics, content = site.topics, {}
    if topics.discovery:
        content[topics.config(view.id)] = _json(discover(view, site))
    stream = topics.stream(view.id)
    content[attributes(stream)] = _json(_stream_attributes(view))
    content[stream] = state_of(view.camera).encode()
    if view.picture is not None:
        require_redacted(view.picture)
    content[topics.snapshot(view.id)] = b"" if view.picture is None else view.picture.jpeg
    for hazard in HAZARDS:
        topic, incident = topics.hazard(view.id, hazard), view.incidents.get(hazard)
        content[attributes(topic)] = _json({} if incident is None else describe(incident, site, now))
        content[topic] = b"ON" if incident is not None and incident.is_open(now, site.quiet_s) else b"OFF"
    return content


def describe(incident: Incident, site: Site, now: datetime) -> dict[str, Any]:
    """The attributes of an incident.

    While it is open nothing is in it that changes with every sighting. A false alarm and a held alert have no others
    than those that say so.
    """
    content: dict[str, Any] = {
        "incident": incident.id,
        "hazard": incident.hazard,
        "status": _status(incident, site, now),
    }
    if site.public_url:
        content["url"] = f"{site.public_url}/?incident={incident.id}"
    if not incident.is_public:
        return content
    caption, place = incident.caption, incident.place
    content |= {
        "caption_en": caption.en if caption else None,
        "caption_ko": caption.ko if caption else None,
        **{f"caption_{language}": text for language, text in (caption.others if caption else {}).items()},
        "place": place.name,
        "region": place.region,
        "latitude": place.lat,
        "longitude": place.lon,
        "first_seen": incident.first_seen,
        "confidence": round(incident.confidence, 2),
        "acknowledged": incident.review is not None,
    }
    return content if content["status"] == "open" else content | {"last_seen": incident.last_seen}


def discover(view: View, site: Site) -> dict[str, Any]:
    """The discovery message of a camera: one device, with all of its entities.

    Source: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
    """
    topics, own = site.topics, f"{site.topics.node}_{slug(view.id)}"
    device: dict[str, Any] = {
        "identifiers": [own],
        "name": f"{view.place.name} ({view.id})" if view.place.name else view.id,
        "manufacturer": "Bongsu",
        "model": "Camera",
        "serial_number": view.id,
        "sw_version": _version(),
    }
    if view.place.region:
        device["suggested_area"] = view.place.region
    if site.public_url:
        device["configuration_url"] = site.public_url
    return {
        "device": device,
        "origin": {"name": "Bongsu", "sw_version": _version()},
        "components": dict(_entities(view.id, own, site)),
        "availability": [{"topic": topics.status}],
        "availability_mode": "all",
        "qos": 1,
    }


def _entities(camera: str, own: str, site: Site) -> Mapping[str, dict[str, Any]]:
    topics, language = site.topics, site.language
    content: dict[str, dict[str, Any]] = {
        hazard: {
            "platform": "binary_sensor",
            "unique_id": f"{own}_{hazard}",
            "name": catalogue.name_hazard(hazard, language, "title"),
            "device_class": "problem",
            "state_topic": topics.hazard(camera, hazard),
            "json_attributes_topic": attributes(topics.hazard(camera, hazard)),
        }
        for hazard in HAZARDS
    }
    content["snapshot"] = {
        "platform": "image",
        "unique_id": f"{own}_snapshot",
        "name": catalogue.say(language, "mqtt-snapshot"),
        "image_topic": topics.snapshot(camera),
        "content_type": "image/jpeg",
    }
    content["status"] = {
        "platform": "sensor",
        "unique_id": f"{own}_status",
        "name": catalogue.say(language, "mqtt-stream"),
        "device_class": "enum",
        "options": list(STATES),
        "entity_category": "diagnostic",
        "state_topic": topics.stream(camera),
        "json_attributes_topic": attributes(topics.stream(camera)),
    }
    return content


def state_of(camera: Camera | None) -> str:
    """A camera's state as one of `STATES`."""
    said = "" if camera is None else camera.status
    if said.startswith("lost: frozen"):
        return "frozen"
    return next((state for state in ("live", "lost") if said == state or said.startswith(f"{state}:")), "unknown")


def _stream_attributes(view: View) -> dict[str, Any]:
    content: dict[str, Any] = {"camera": view.id, "place": view.place.name, "region": view.place.region}
    content |= {"latitude": view.place.lat, "longitude": view.place.lon}
    if view.camera is not None:
        content |= {"reason": view.camera.status.partition(": ")[2], "changed_at": view.camera.changed_at}
    return content


def _status(incident: Incident, site: Site, now: datetime) -> str:
    if incident.is_false_alarm:
        return "false_alarm"
    if incident.is_held:
        return "held"
    return "open" if incident.is_open(now, site.quiet_s) else "over"


def _json(content: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(content)


def _version() -> str:
    try:
        return version("bongsu")
    except PackageNotFoundError:
        return "0"
