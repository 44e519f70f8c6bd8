"""Incidents as Waze's Closure and Incident Feed Specification (CIFS) has them, in JSON; `endpoints.py` serves them.

What is in the feed is shown to drivers, and what is gone from it is over: a false alarm is left out. A camera cannot
say how bad an accident is, so an accident has no subtype.

Source: https://developers.google.com/waze/data-feed/cifs-specification
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api import cap, words
from api.roads.stretches import Stretch
from functions import catalogue
from functions.hazards import KINDS
from store.records import Incident

# Waze reads a feed every few minutes, and an incident must not end between two readings of it.
_LASTS = timedelta(minutes=10)


def feed(found: Iterable[tuple[Incident, Stretch]], site: UUID, quiet_s: float, language: str) -> dict[str, Any]:
    """The document.

    Args:
        found: open incidents of hazards that drivers are warned of, and where they are.
        site: name of the database, which identifiers are made from.
        quiet_s: seconds after which an unseen hazard is over.
        language: of descriptions.
    """
    return {"incidents": [{"incident": _incident(*one, site, quiet_s, language)} for one in found]}


def _incident(incident: Incident, stretch: Stretch, site: UUID, quiet_s: float, language: str) -> dict[str, str]:
    kind = KINDS[incident.hazard]
    assert kind.road is not None
    known = "road-unconfirmed" if incident.review is None else "road-confirmed"
    elements = {
        "id": cap.name_of(incident, site),
        "type": kind.road.cifs_type,
        "subtype": kind.road.cifs_subtype,
        # In the order of latitude and longitude, and with six digits.
        "polyline": " ".join(f"{lat:.6f} {lon:.6f}" for lon, lat in stretch.line),
        "street": stretch.street,
        "direction": {"one": "ONE_DIRECTION", "both": "BOTH_DIRECTIONS"}[stretch.direction],
        "creationtime": _time(incident.first_seen),
        "updatetime": _time(cap.sent_at(incident)),
        "starttime": _time(incident.first_seen),
        "endtime": _time(incident.last_seen + max(timedelta(seconds=quiet_s), _LASTS)),
        "description": catalogue.say(language, known, event=words.event_of(incident.hazard, language)),
    }
    return {name: value for name, value in elements.items() if value}


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
