"""Incidents as alerts of the Common Alerting Protocol 1.2 (OASIS), for emergency services; `feeds.py` serves them.

An incident's first message is an Alert, a later change an Update, and a false alarm a Cancel; both refer to the Alert.
A camera shows that something is there, but not how bad it is, so the alert claims no more than that: only incidents
confirmed by a person are "Observed".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from api import words
from api.markup import Element, add, clean, render
from functions import catalogue
from functions.event import utc_now
from functions.hazards import KINDS
from store.records import Incident

Status = Literal["Actual", "Exercise", "System", "Test"]
MsgType = Literal["Alert", "Update", "Cancel"]

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
# The radius that a camera covers, which is also about the accuracy of its position.
_RADIUS_KM = 0.2
_REGIONS = {"en": "en-US", "ko": "ko-KR"}
"""What alerts have called these languages from the first; others are called by their code."""
_AWAITS_WORDS = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Message:
    """The current CAP message of an incident."""

    kind: MsgType
    identifier: str
    sent_at: datetime


def is_ready(incident: Incident, now: datetime) -> bool:
    """Whether its Alert can be sent: the caption comes some seconds later, and a sent message must not change."""
    if incident.is_held:
        return False
    return incident.caption is not None or now - incident.last_seen > _AWAITS_WORDS


def sent_at(incident: Incident) -> datetime:
    """When an incident last changed by a sighting or a review. It never goes back."""
    times = (incident.last_seen, incident.reviewed_at, None if incident.review is None else incident.review.at)
    return max(at for at in times if at is not None)


def identify(incident: Incident, site: UUID, is_open: bool) -> Message:
    """The incident's current message; `site` is the name of the database."""
    name = name_of(incident, site)
    if incident.is_false_alarm:
        return Message("Cancel", f"{name}.{incident.revision}", sent_at(incident))
    # A withdrawn review was sent already, so its withdrawal is an Update.
    if is_open and incident.sightings == 1 and sent_at(incident) == incident.first_seen:
        return Message("Alert", f"{name}.1", incident.first_seen)
    # An incident ends by time, which does not create a revision.
    state = "" if is_open else ".over"
    return Message("Update", f"{name}.{incident.revision}{state}", sent_at(incident))


def alert(
    incident: Incident,
    *,
    base: str,
    site: UUID,
    quiet_s: float,
    status: Status,
    sender: str = "",
    languages: Sequence[str] = ("en", "ko"),
    now: datetime | None = None,
) -> bytes:
    """One incident as a CAP 1.2 alert, with an info block in each language.

    Args:
        incident: the incident.
        base: the prefix of the addresses of the page and of pictures.
        site: name of the database, a part of all identifiers, so that they do not depend on the address.
        quiet_s: seconds after which an unseen hazard is over.
        status: "Actual" only if the operator configured it.
        sender: the sender; derived from `site` if empty.
        languages: languages of the info blocks, in their order.
        now: the current time, which decides whether the incident is over.
    """
    is_open = incident.is_open(now or utc_now(), quiet_s)
    message = identify(incident, site, is_open)
    sender = sender or f"bongsu@{site}"
    root = Element("alert", {"xmlns": NAMESPACE})
    add(root, "identifier", message.identifier)
    add(root, "sender", sender)
    add(root, "sent", _time(message.sent_at))
    add(root, "status", status)
    add(root, "msgType", message.kind)
    add(root, "scope", "Public")
    if message.kind == "Cancel":
        add(root, "note", catalogue.say("en", "cap-cancelled"))
    if message.kind != "Alert":
        add(root, "references", f"{sender},{name_of(incident, site)}.1,{_time(incident.first_seen)}")
    add(root, "incidents", name_of(incident, site))
    for language in languages:
        # A review may come long after the last sighting, and a message must not expire before it is sent.
        expires = _time(message.sent_at + timedelta(seconds=quiet_s))
        _add_info(root, incident, language, base=base, expires=expires, is_open=is_open)
    return render(root)


def _add_info(root: Element, incident: Incident, language: str, *, base: str, expires: str, is_open: bool) -> None:
    kind, event = KINDS[incident.hazard], words.event_of(incident.hazard, language)
    info = add(root, "info")
    add(info, "language", _REGIONS.get(language, language))
    for category in kind.cap_categories:
        add(info, "category", category)
    add(info, "event", event)
    urgency, severity, certainty = judge(incident, is_open)
    add(info, "urgency", urgency)
    add(info, "severity", severity)
    add(info, "certainty", certainty)
    add(info, "effective", _time(incident.first_seen))
    add(info, "onset", _time(incident.first_seen))
    add(info, "expires", expires)
    add(info, "senderName", "Bongsu")
    # A name may have only characters that XML does not allow.
    where = clean(incident.place.name).strip() or f"{incident.place.lat:.5f}, {incident.place.lon:.5f}"
    add(info, "headline", f"{event}: {where}"[:160])
    add(info, "description", _describe(incident, language))
    add(info, "web", f"{base}/?incident={incident.id}")
    _add_pair(info, "parameter", "bongsu:camera", incident.camera)
    _add_pair(info, "parameter", "bongsu:confidence", f"{incident.confidence:.2f}")
    if incident.snapshot_key is not None and not incident.is_false_alarm:
        resource = add(info, "resource")
        add(resource, "resourceDesc", catalogue.say(language, "cap-picture"))
        add(resource, "mimeType", "image/jpeg")
        add(resource, "uri", f"{base}/api/incidents/{incident.id}/snapshot")
    area = add(info, "area")
    add(area, "areaDesc", ", ".join(filter(None, (where, incident.place.region))))
    add(area, "circle", f"{incident.place.lat:.5f},{incident.place.lon:.5f} {_RADIUS_KM}")


def _add_pair(parent: Element, name: str, key: str, value: str) -> None:
    """Append a name and its value, CAP's form for facts without an element of their own."""
    pair = add(parent, name)
    add(pair, "valueName", key)
    add(pair, "value", value)


def judge(incident: Incident, is_open: bool) -> tuple[str, str, str]:
    """Urgency, severity and certainty, without claiming more than is known."""
    urgency = "Immediate" if is_open else "Past"
    detected, confirmed = KINDS[incident.hazard].cap_severity
    if incident.is_false_alarm:
        return urgency, "Minor", "Unlikely"
    if incident.review is not None:
        return urgency, confirmed, "Observed"
    # "Possible threat to life or property"; "Likely" is more than an even chance.
    return urgency, detected, "Likely" if incident.confidence > 0.5 else "Possible"


def _describe(incident: Incident, language: str) -> str:
    if incident.is_false_alarm:
        return catalogue.say(language, "cap-cancelled")
    # A caption from before the language was added has no text in it: the block says what is known without it.
    said = "" if incident.caption is None else incident.caption.text(language)
    known = catalogue.say(language, "cap-unconfirmed" if incident.review is None else "cap-confirmed")
    return " ".join(filter(None, (said, known)))


def name_of(incident: Incident, site: UUID) -> str:
    """An incident's name, which no other site uses; `site` is the name of the database."""
    return f"bongsu-{site.hex[:12]}-{incident.id}"


def _time(at: datetime) -> str:
    # CAP has neither fractions nor Z; UTC is written as -00:00.
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")
