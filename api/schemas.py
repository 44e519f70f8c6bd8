"""The API's JSON types: `views.py` builds them, FastAPI describes them in `/openapi.json`.

They are typed dictionaries: msgspec encodes them directly, without validation or copies. The tests check real answers
against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from functions.event import Hazard
from store.records import Verdict
from web.keys import Role

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T05:03:00.000Z"])]
Pair = Annotated[list[str], Field(min_length=2, max_length=2, description="On the light and on the dark page.")]

_INCIDENT: dict[str, Any] = {
    "type": "Feature",
    "id": 7,
    "geometry": {"type": "Point", "coordinates": [126.937, 37.5585]},
    "properties": {
        "id": 7, "hazard": "fire", "camera": "gate-1", "place": "Sinchon Market", "region": "Seoul",
        "first_seen": "2026-11-22T05:03:00.000Z", "last_seen": "2026-11-22T05:04:10.000Z", "confidence": 0.81,
        "sightings": 12, "status": "open", "review": None, "late": False,
        "caption": {"en": "Fire at Sinchon Market.", "ko": "신촌시장에서 화재가 감지되었습니다."},
        "snapshot": "/api/incidents/7/snapshot?v=41", "pin_s": 0.84,
    },
}  # fmt: skip
_CAMERA: dict[str, Any] = {
    "type": "Feature",
    "id": "gate-1",
    "geometry": _INCIDENT["geometry"],
    "properties": {
        "id": "gate-1", "place": "Sinchon Market", "region": "Seoul", "status": "live",
        "changed_at": "2026-11-22T04:00:00.000Z", "snapshot": "/api/cameras/gate-1/snapshot?v=0123456789ab",
        "snapshot_at": "2026-11-22T05:04:10.000Z",
    },
}  # fmt: skip
EXAMPLES: dict[str, dict[str, Any]] = {
    "Error": {"detail": "limit must be a whole number from 1 to 1000, got '0'"},
    "Incident": _INCIDENT,
    "Incidents": {
        "type": "FeatureCollection", "features": [_INCIDENT], "revision": 41, "quiet_s": 120.0, "next": None,
    },
    "Camera": _CAMERA,
    "Cameras": {"type": "FeatureCollection", "features": [_CAMERA]},
    "Session": {"name": "fire-brigade", "role": "operator", "read": "open", "reviews": True},
    "Pipeline": {"at": None, "functions": []},
    "Health": {"status": "ok", "revision": 41},
    "HookResult": {
        "id": "4c7e2a9d51f94b1c8a3e0d6f7b2c9a10", "hook": "report", "state": "done",
        "received_at": "2026-11-22T05:03:00.000Z", "answered_at": "2026-11-22T05:03:01.200Z",
        "expires_at": "2026-11-23T05:03:00.000Z", "result": {"events": 12}, "reason": None,
        "url": "/hooks/report/results/4c7e2a9d51f94b1c8a3e0d6f7b2c9a10",
    },
}  # fmt: skip
"""Examples by name. They are not in the models, because FastAPI omits nulls there."""


class Error(TypedDict):
    """Why a request was refused."""

    detail: Annotated[str, Field(description="One line: the value and the fix.")]


class Point(TypedDict):
    """A place, as GeoJSON."""

    type: Literal["Point"]
    coordinates: Annotated[list[float], Field(min_length=2, max_length=2, description="Longitude, latitude.")]


@with_config(ConfigDict(extra="allow"))
class Words(TypedDict):
    """A text in English, Korean and the other languages of the site."""

    en: str
    ko: str


@with_config(ConfigDict(extra="allow"))
class Titles(TypedDict):
    """A name in English, Korean and the other languages of the site."""

    en: str
    ko: str


class Review(TypedDict):
    """What an operator reported about an incident."""

    verdict: Verdict
    by: Annotated[str, Field(description="Name of the key.")]
    at: Time
    note: str


class Stage(TypedDict):
    """When a function got an event, and when it had finished it."""

    name: str
    got_at: Time
    done_at: Time


class IncidentProperties(TypedDict):
    """The properties of an incident."""

    id: int
    hazard: Hazard
    camera: str
    place: str
    region: str
    first_seen: Time
    last_seen: Time
    confidence: Annotated[float, Field(ge=0, le=1)]
    sightings: int
    status: Annotated[
        Literal["open", "closed", "false_alarm", "held"],
        Field(description="`held`: its alert waits for an operator's review; only operators get caption and picture."),
    ]
    review: Review | None
    late: Annotated[bool, Field(description="Published late, because the broker was unreachable.")]
    caption: Words | None
    snapshot: Annotated[str | None, Field(description="Address of its picture; null where there is none.")]
    pin_s: Annotated[float, Field(description="Seconds from capture to the pin on the map.")]
    stages: NotRequired[
        Annotated[
            list[Stage] | None, Field(description="Only for a single incident: the stages of its first sighting.")
        ]
    ]


class Incident(TypedDict):
    """An incident, as a GeoJSON Feature."""

    type: Literal["Feature"]
    id: int
    geometry: Point
    properties: IncidentProperties


class Incidents(TypedDict):
    """Incidents, as a GeoJSON FeatureCollection."""

    type: Literal["FeatureCollection"]
    features: list[Incident]
    revision: Annotated[int, Field(description="The revision after which the live stream continues.")]
    quiet_s: Annotated[float, Field(description="Seconds after which an unseen hazard is over.")]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last.")]


class CameraProperties(TypedDict):
    """The last reported state of a camera."""

    id: str
    place: str
    region: str
    status: Annotated[str, Field(description="`live`, or `lost: ` and the reason.")]
    changed_at: Time
    snapshot: str | None
    snapshot_at: Time | None


class Camera(TypedDict):
    """A camera, as a GeoJSON Feature."""

    type: Literal["Feature"]
    id: str
    geometry: Point
    properties: CameraProperties


class Cameras(TypedDict):
    """Cameras, as a GeoJSON FeatureCollection."""

    type: Literal["FeatureCollection"]
    features: list[Camera]


class Session(TypedDict):
    """Who is signed in, and whether a key is needed."""

    name: str | None
    role: Role | None
    read: Literal["open", "key"]
    reviews: NotRequired[Annotated[bool, Field(description="Whether any key may review.")]]
    clips: NotRequired[Annotated[bool, Field(description="Whether the caller may fetch sealed clips.")]]
    videos: NotRequired[Annotated[bool, Field(description="Whether there are public clips of incidents.")]]


@with_config(ConfigDict(extra="allow"))
class Pipeline(TypedDict):
    """Queues and replicas of one machine."""

    functions: list[dict[str, Any]]


class Look(TypedDict):
    """How the page draws a hazard: colours as `#rrggbb`, outlines as SVG path data."""

    ink: Pair
    soft: Pair
    solid: str
    shape: str
    glyph: list[str]


class HazardKind(TypedDict):
    """A hazard: its names and its look."""

    name: Hazard
    title: Titles
    look: Look


class Hazards(TypedDict):
    """All hazards, in the page's order."""

    hazards: list[HazardKind]


class Health(TypedDict):
    """The service is healthy: the database answers and the live stream runs."""

    status: str
    revision: int


class HookResult(TypedDict):
    """A request to a hook, and what became of it."""

    id: Annotated[str, Field(description="Of its event, too: `event_id` in the logs.")]
    hook: str
    state: Literal["waiting", "done", "failed"]
    received_at: Time
    answered_at: Time | None
    expires_at: Annotated[Time, Field(description="When it is forgotten.")]
    result: Annotated[Any, Field(description="What the function returned; null until then.")]
    reason: Annotated[str | None, Field(description="Why it failed.")]
    url: Annotated[str, Field(description="Where to ask for it.")]


class PushOffer(TypedDict):
    """Whether warnings are sent from here by Web Push."""

    key: Annotated[str | None, Field(description="The `applicationServerKey`; null where none are.")]


class PushState(TypedDict):
    """What became of a subscription."""

    is_new: Annotated[bool, Field(description="Whether the endpoint was not subscribed before.")]
