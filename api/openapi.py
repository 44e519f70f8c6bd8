"""What `/openapi.json` says beyond what FastAPI reads from the endpoints: answers, examples, errors and keys.

Bodies are encoded by msgspec from plain records and checked against these schemas by the tests, which costs a reader
nothing.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from functions.event import HAZARDS
from store.queries import STATUSES

Json = dict[str, Any]

_TIME: Json = {"type": "string", "format": "date-time", "examples": ["2026-11-22T05:03:00.000Z"]}
_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_WHOLE: Json = {"type": "integer"}


def _record(properties: Json, **more: Any) -> Json:
    """An object that has each of these."""
    return {"type": "object", "properties": properties, "required": list(properties), **more}


def _maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _feature(properties: str, identifier: Json) -> Json:
    return _record(
        {"type": {"const": "Feature"}, "id": identifier, "geometry": _ref("Point"), "properties": _ref(properties)}
    )


def _collection(feature: str, **members: Json) -> Json:
    features = {"type": "array", "items": _ref(feature)}
    return _record({"type": {"const": "FeatureCollection"}, "features": features, **members})


_TEXTS: Json = {"type": "array", "items": _TEXT}
_PAIR: Json = {**_TEXTS, "minItems": 2, "maxItems": 2, "description": "On the light page and on the dark one."}
_HAZARD: Json = {"type": "string", "enum": list(HAZARDS)}
_INCIDENT: Json = {
    "id": _WHOLE, "hazard": _HAZARD, "camera": _TEXT, "place": _TEXT, "region": _TEXT, "first_seen": _TIME,
    "last_seen": _TIME, "confidence": {"type": "number", "minimum": 0, "maximum": 1}, "sightings": _WHOLE,
    "status": {"type": "string", "enum": ["open", "closed", "false_alarm"]}, "review": _maybe(_ref("Review")),
    "late": {"type": "boolean", "description": "Published late, because the broker was away."},
    "caption": _maybe(_ref("Caption")), "snapshot": _maybe(_TEXT),
    "pin_s": {"type": "number", "description": "Seconds from capture to the pin on the map."},
}  # fmt: skip
_SCHEMAS: Json = {
    "Error": _record({"detail": {"type": "string", "description": "One line: the value and the fix."}}),
    "Point": _record(
        {
            "type": {"const": "Point"},
            "coordinates": {
                "type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2, "description": "Longitude, latitude.",
            },
        }
    ),
    "Caption": _record({"en": _TEXT, "ko": _TEXT}),
    "Review": _record(
        {
            "verdict": {"type": "string", "enum": ["acknowledged", "false_alarm"]},
            "by": {"type": "string", "description": "Name of the key."},
            "at": _TIME,
            "note": _TEXT,
        }
    ),
    "Stage": _record({"name": _TEXT, "got_at": _TIME, "done_at": _TIME}),
    "IncidentProperties": {
        **_record(_INCIDENT),
        "properties": {**_INCIDENT, "stages": _maybe({"type": "array", "items": _ref("Stage")})},
    },
    "Incident": _feature("IncidentProperties", _WHOLE),
    "Incidents": _collection("Incident", revision=_WHOLE, quiet_s=_NUMBER, next=_maybe(_TEXT)),
    "CameraProperties": _record(
        {
            "id": _TEXT, "place": _TEXT, "region": _TEXT, "status": _TEXT, "changed_at": _TIME,
            "snapshot": _maybe(_TEXT), "snapshot_at": _maybe(_TIME),
        }
    ),
    "Camera": _feature("CameraProperties", _TEXT),
    "Cameras": _collection("Camera"),
    "Session": {
        "type": "object",
        "properties": {
            "name": _maybe(_TEXT), "role": _maybe({"type": "string", "enum": ["viewer", "operator"]}),
            "read": {"type": "string", "enum": ["open", "key"]}, "reviews": {"type": "boolean"},
        },
        "required": ["name", "role", "read"],
    },
    "Pipeline": {**_record({"functions": {"type": "array"}}), "additionalProperties": True},
    "Words": _record({"en": _TEXT, "ko": _TEXT}),
    "Look": _record({"ink": _PAIR, "soft": _PAIR, "solid": _TEXT, "shape": _TEXT, "glyph": _TEXTS}),
    "Hazard": _record({"name": _HAZARD, "title": _ref("Words"), "look": _ref("Look")}),
    "Hazards": _record({"hazards": {"type": "array", "items": _ref("Hazard")}}),
    "Health": _record({"status": _TEXT, "revision": _WHOLE}),
    "Feed": _record(
        {"version": _TEXT, "title": _TEXT, "home_page_url": _TEXT, "feed_url": _TEXT, "items": {"type": "array"}}
    ),
    "KeyBody": _record({"key": {"type": "string", "minLength": 1, "maxLength": 200}}, additionalProperties=False),
    "ReviewBody": {
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": ["acknowledged", "false_alarm"]},
            "note": {"type": "string", "maxLength": 1000, "default": ""},
        },
        "required": ["verdict"],
        "additionalProperties": False,
    },
}  # fmt: skip

_EXAMPLE: Json = {
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
_CAMERA: Json = {
    "type": "Feature",
    "id": "gate-1",
    "geometry": _EXAMPLE["geometry"],
    "properties": {
        "id": "gate-1", "place": "Sinchon Market", "region": "Seoul", "status": "live",
        "changed_at": "2026-11-22T04:00:00.000Z", "snapshot": "/api/cameras/gate-1/snapshot?v=0123456789ab",
        "snapshot_at": "2026-11-22T05:04:10.000Z",
    },
}  # fmt: skip
EXAMPLES: Json = {
    "Error": {"detail": "limit must be a whole number from 1 to 1000, got '0'"},
    "Incident": _EXAMPLE,
    "Incidents": {
        "type": "FeatureCollection", "features": [_EXAMPLE], "revision": 41, "quiet_s": 120.0, "next": None,
    },
    "Camera": _CAMERA,
    "Cameras": {"type": "FeatureCollection", "features": [_CAMERA]},
    "Session": {"name": "fire-brigade", "role": "operator", "read": "open", "reviews": True},
    "Pipeline": {"at": None, "functions": []},
    "Health": {"status": "ok", "revision": 41},
    "KeyBody": {"key": "bongsu_…"},
    "ReviewBody": {"verdict": "false_alarm", "note": "a street lamp"},
}  # fmt: skip

_PARAMETERS: dict[str, tuple[str, Any]] = {
    "hazard": (f"Only these, separated by commas: {', '.join(HAZARDS)}.", "fire,gun"),
    "since": ("Last seen then or later; ISO 8601, UTC unless it says otherwise.", "2026-11-22T05:03:00Z"),
    "until": ("Last seen then or earlier.", "2026-11-22T06:00:00Z"),
    "bbox": ("Only within west,south,east,north, degrees; west > east crosses the date line.", "126.7,37.4,127.2,37.7"),
    "camera": ("Only of this camera.", "gate-1"),
    "status": (f"Any of these, separated by commas: {', '.join(STATUSES)}.", "open,acknowledged"),
    "limit": ("At most so many, 1 to 1000; 200 where nothing is given.", "50"),
    "cursor": ("The `next` of the page before, as it came.", "MTc2MzU2MTM5MDAwMDAwMC43"),
    "after": ("Revision to resume after; without it only what comes next is told.", "41"),
    "v": ("Names the picture, so that its address may be cached.", "41"),
    "incident_id": ("Number of the incident.", "7"),
    "post_id": ("Number of the post.", "3"),
    "camera_id": ("The camera, percent-encoded.", "gate-1"),
}

_GEO, _JSON, _JPEG = "application/geo+json", "application/json", "image/jpeg"
_READS, _WRITES = (401, 429, 503), (401, 403, 404, 413, 415, 422, 429, 503)
_ONE = (*_READS, 404, 422)
# Path and method: media type, schema, errors.
_ANSWERS: dict[tuple[str, str], tuple[str, str | None, tuple[int, ...]]] = {
    ("/api/incidents", "get"): (_GEO, "Incidents", (*_READS, 422)),
    ("/api/incidents/stream", "get"): ("text/event-stream", None, (*_READS, 422)),
    ("/api/incidents/{incident_id}", "get"): (_GEO, "Incident", _ONE),
    ("/api/incidents/{incident_id}/snapshot", "get"): (_JPEG, None, _ONE),
    ("/api/incidents/{incident_id}/review", "post"): (_GEO, "Incident", _WRITES),
    ("/api/incidents/{incident_id}/review", "delete"): (_GEO, "Incident", (*_ONE, 403)),
    ("/api/cameras", "get"): (_GEO, "Cameras", _READS),
    ("/api/cameras/{camera_id}/snapshot", "get"): (_JPEG, None, (*_READS, 404)),
    ("/api/pipeline", "get"): (_JSON, "Pipeline", _READS),
    ("/api/posts/{post_id}/snapshot", "get"): (_JPEG, None, _ONE),
    ("/api/posts/{post_id}/location", "get"): (_JPEG, None, _ONE),
    ("/api/session", "get"): (_JSON, "Session", (401, 429, 503)),
    ("/api/session", "post"): (_JSON, "Session", (401, 413, 415, 422, 429, 503)),
    ("/api/session", "delete"): ("", None, (401, 429, 503)),
    ("/feed.json", "get"): ("application/feed+json", "Feed", _READS),
    ("/feed.atom", "get"): ("application/atom+xml", None, _READS),
    ("/cap.xml", "get"): ("application/atom+xml", None, _READS),
    ("/cap/{incident_id}.xml", "get"): ("application/cap+xml", None, _ONE),
    ("/hazards.json", "get"): (_JSON, "Hazards", ()),
    ("/healthz", "get"): (_JSON, "Health", (503,)),
}
_MEANINGS = {
    304: "The client has it already (`If-None-Match`).", 401: "No key, or a wrong one.",
    403: "A viewer's key, where an operator's is needed.", 404: "There is no such thing.",
    413: "The body is too long.", 415: "The body must be `application/json`.", 422: "A value cannot be used.",
    429: "Too many requests, or too many wrong keys: see `Retry-After`.", 503: "Try again later.",
}  # fmt: skip
_BODIES = {"/api/session": "KeyBody", "/api/incidents/{incident_id}/review": "ReviewBody"}
_STREAM: Json = {
    "tags": ["live"],
    "summary": "Follow what happens",
    "operationId": "follow",
    "description": (
        "Server-sent events `incident`, `post` and `camera`, whose id is a revision to resume after, and `pipeline`. "
        "A client that comes back sends `Last-Event-ID`. The same over WebSocket at `/api/incidents/ws` "
        "(`?after=&hazard=&bbox=`), as JSON messages `{event, id, data}`."
    ),
    "parameters": [
        {"name": "after", "in": "query", "required": False, "schema": _TEXT},
        {"name": "Last-Event-ID", "in": "header", "required": False, "schema": _TEXT},
    ],
    "responses": {"200": {"description": "The stream; it does not end."}},
}


def describe(app: FastAPI) -> Json:
    """The whole document of an application."""
    document = FastAPI.openapi(app)
    document["paths"]["/api/incidents/stream"] = {"get": {**_STREAM, "responses": dict(_STREAM["responses"])}}
    components = document.setdefault("components", {})
    components["schemas"] = _SCHEMAS
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of `bongsu key new`."},
        "session": {"type": "apiKey", "in": "cookie", "name": "bongsu_session", "description": "Of POST /api/session."},
    }
    paths = document["paths"]
    for path in list(paths):
        # The converter of Starlette is no part of a name.
        paths[path.replace(":path}", "}")] = paths.pop(path)
    for path, method in _ANSWERS:
        _complete(paths[path][method], path, method)
    return document


def _complete(operation: Json, path: str, method: str) -> None:
    media, schema, errors = _ANSWERS[path, method]
    for parameter in operation.get("parameters", []):
        if parameter["name"] in _PARAMETERS:
            parameter["description"], parameter["example"] = _PARAMETERS[parameter["name"]]
            parameter["schema"] = _TEXT
    told = operation["responses"].get("200") or operation["responses"]["204"]
    is_binary = media == _JPEG
    body: Json = _ref(schema) if schema else ({"type": "string", "format": "binary"} if is_binary else _TEXT)
    if media:
        content: Json = {"schema": body}
        if schema in EXAMPLES:
            content["example"] = EXAMPLES[schema]
        told["content"] = {media: content}
    operation["responses"] = {key: value for key, value in operation["responses"].items() if key != "422"}
    if method == "get" and media not in ("text/event-stream", _JSON):
        operation["responses"]["304"] = {"description": _MEANINGS[304]}
        told["headers"] = {"ETag": {"schema": _TEXT, "description": "Send it back as `If-None-Match`."}}
    for status in sorted(errors):
        error = {"schema": _ref("Error"), "example": EXAMPLES["Error"]}
        operation["responses"][str(status)] = {"description": _MEANINGS[status], "content": {_JSON: error}}
    is_write = path in _BODIES and (method == "post" or "review" in path)
    if method == "post":
        content = {"schema": _ref(_BODIES[path]), "example": EXAMPLES[_BODIES[path]]}
        operation["requestBody"] = {"required": True, "content": {_JSON: content}}
    if path not in {"/healthz", "/hazards.json", "/api/session"}:
        # Without a key as well, where reading is open.
        operation["security"] = [{"key": []}, {"session": []}, *([] if is_write else [{}])]
