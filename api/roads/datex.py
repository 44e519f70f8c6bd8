"""Incidents as a DATEX II v3 SituationPublication, for traffic centres; `endpoints.py` serves it.

It is a snapshot: every situation that is active now, and a client takes what is gone from it for over. So a false
alarm is left out. No more is claimed than is known: only what a person has confirmed is `certain`, and a fire near a
road is `nearbyFire`, which says nothing of whether the road is blocked.

Source: EN 16157-2 (location), -3 (situation) and -7 (common); the schema is at https://docs.datex2.eu.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from api import cap
from api.markup import Element, add, render
from api.roads.stretches import Stretch
from functions.event import Caption
from functions.hazards import KINDS
from store.records import Incident

_SCHEMA = "http://datex2.eu/schema/3"
NAMESPACES = {
    "d2": f"{_SCHEMA}/d2Payload", "sit": f"{_SCHEMA}/situation", "com": f"{_SCHEMA}/common",
    "loc": f"{_SCHEMA}/locationReferencing", "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}  # fmt: skip
INFORMATION: dict[cap.Status, str] = {
    "Actual": "real", "Exercise": "securityExercise", "System": "technicalExercise", "Test": "test",
}  # fmt: skip
"""What DATEX II calls the states of a CAP alert."""

_TEXT_MAX = 1024


def publication(
    found: Iterable[tuple[Incident, Stretch]],
    *,
    base: str,
    site: UUID,
    quiet_s: float,
    status: cap.Status,
    country: str,
    sender: str,
    at: datetime,
) -> bytes:
    """The document.

    Args:
        found: open incidents of hazards that drivers are warned of, and where they are.
        base: what addresses of the page begin with.
        site: name of the database, which identifiers are made from.
        quiet_s: seconds after which an unseen hazard is over.
        status: as of CAP alerts: whether this is meant.
        country: of whom it is from, two letters of ISO 3166.
        sender: whom it is from; made from `site` where it is empty.
        at: when it is published.
    """
    spaces = {f"xmlns:{prefix}": name for prefix, name in NAMESPACES.items()}
    kind = {"xsi:type": "sit:SituationPublication", "lang": "en", "modelBaseVersion": "3"}
    root = Element("d2:payload", spaces | kind)
    add(root, "com:publicationTime", _time(at))
    creator = add(root, "com:publicationCreator")
    add(creator, "com:country", country)
    add(creator, "com:nationalIdentifier", sender or f"bongsu-{site}")
    for incident, stretch in found:
        situation = add(root, "sit:situation", id=cap.name_of(incident, site))
        add(situation, "sit:situationVersionTime", _time(cap.sent_at(incident)))
        add(add(situation, "sit:headerInformation"), "com:informationStatus", INFORMATION[status])
        _add_record(situation, incident, stretch, base=base, site=site, quiet_s=quiet_s)
    return render(root)


def _add_record(
    parent: Element, incident: Incident, stretch: Stretch, *, base: str, site: UUID, quiet_s: float
) -> None:
    kind = KINDS[incident.hazard]
    assert kind.road is not None
    of_record = {"xsi:type": f"sit:{kind.road.datex_record}", "version": str(incident.revision)}
    record = add(parent, "sit:situationRecord", id=f"{cap.name_of(incident, site)}-1", **of_record)
    add(record, "sit:situationRecordCreationTime", _time(incident.first_seen))
    add(record, "sit:situationRecordObservationTime", _time(incident.last_seen))
    add(record, "sit:situationRecordVersionTime", _time(cap.sent_at(incident)))
    add(record, "sit:probabilityOfOccurrence", _probability(incident))
    add(record, "sit:safetyRelatedMessage", "true")
    source = add(record, "sit:source")
    _add_words(source, "com:sourceName", Caption("Bongsu", "봉수"))
    add(source, "com:sourceType", "videoProcessingMonitoringStation")
    validity = add(record, "sit:validity")
    add(validity, "com:validityStatus", "active")
    period = add(validity, "com:validityTimeSpecification")
    add(period, "com:overallStartTime", _time(incident.first_seen))
    add(period, "com:overallEndTime", _time(incident.last_seen + timedelta(seconds=quiet_s)))
    comment = add(record, "sit:generalPublicComment")
    said = Caption(kind.event.en, kind.event.ko) if incident.caption is None else incident.caption
    _add_words(comment, "sit:comment", said)
    add(comment, "sit:commentType", "description")
    link = add(record, "sit:urlLink")
    add(link, "com:urlLinkAddress", f"{base}/?incident={incident.id}")
    add(link, "com:urlLinkType", "html")
    _add_location(record, incident, stretch)
    add(record, f"sit:{kind.road.datex_field}", kind.road.datex_value)


def _add_location(record: Element, incident: Incident, stretch: Stretch) -> None:
    location = add(record, "sit:locationReference", **{"xsi:type": "loc:LinearLocation"})
    display = add(location, "loc:coordinatesForDisplay")
    add(display, "loc:latitude", f"{incident.place.lat:.6f}")
    add(display, "loc:longitude", f"{incident.place.lon:.6f}")
    described = add(location, "loc:supplementaryPositionalDescription")
    if name := incident.place.name.strip():
        _add_words(described, "loc:locationDescription", Caption(name, name))
    add(add(described, "loc:roadInformation"), "loc:roadName", stretch.street[:_TEXT_MAX])
    line = add(location, "loc:gmlLineString", srsDimension="2", srsName="urn:ogc:def:crs:EPSG::4326")
    # In the order of that reference system: latitude first.
    add(line, "loc:posList", " ".join(f"{lat:.6f} {lon:.6f}" for lon, lat in stretch.line))


def _add_words(parent: Element, name: str, said: Caption) -> None:
    values = add(add(parent, name), "com:values")
    for language, text in said.texts.items():
        add(values, "com:value", text[:_TEXT_MAX], lang=language)


def _probability(incident: Incident) -> str:
    if incident.review is not None:
        return "certain"
    return "probable" if incident.confidence > 0.5 else "riskOf"


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
