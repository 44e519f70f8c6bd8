"""Additions to FastAPI's `/openapi.json`: errors, bodies, the stream and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from api import schemas, schemas_fleet

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_MEANINGS = {
    401: "No key, or a wrong one.", 403: "A viewer's key, but an operator's is needed.",
    404: "It does not exist.", 413: "The body is too long.", 415: "The body must be `application/json`.",
    422: "A value is invalid.", 429: "Too many requests, or too many wrong keys: see `Retry-After`.",
    503: "Try again later.",
}  # fmt: skip
_CACHED: dict[int | str, Json] = {
    200: {"headers": {"ETag": {"schema": _TEXT, "description": "Send it back as `If-None-Match`."}}},
    304: {"description": "The client has it already (`If-None-Match`)."},
}
_OPEN = {"/healthz", "/hazards.json", "/api/session", "/push/unsubscribe"}
_STREAM = "/api/incidents/stream"


def answers(*statuses: int) -> dict[int | str, Json]:
    """An endpoint's responses besides its model: 200 with an ETag, 304, and errors with their reason."""
    return {
        status: _CACHED.get(status) or {"model": schemas.Error, "description": _MEANINGS[status]} for status in statuses
    }


def json_body(kind: type[msgspec.Struct], example: Json) -> Json:
    """The description of a body that an endpoint parses itself."""
    _, found = msgspec.json.schema_components([kind])
    content = {"schema": _inline(found[kind.__name__], found), "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _inline(schema: Any, found: Mapping[str, Any]) -> Any:
    """A schema with the schemas that it refers to in their places."""
    if isinstance(schema, list):
        return [_inline(each, found) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(found[schema["$ref"].rpartition("/")[2]], found)
    # The discriminator only points to the alternatives, each of which says its own kind.
    inlined = {name: _inline(value, found) for name, value in schema.items() if name != "discriminator"}
    if "prefixItems" in inlined:
        # Generators of clients know lists of one type, and no tuples.
        inlined["items"] = inlined.pop("prefixItems")[0]
    return inlined


def describe(app: FastAPI) -> Json:
    """The complete document of an application, built once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = FastAPI.openapi(app)
    paths: Json = document["paths"]
    for path in list(paths):
        # Starlette's converter is not part of a parameter's name.
        paths[path.replace(":path}", "}")] = paths.pop(path)
    for name, example in {**schemas.EXAMPLES, **schemas_fleet.EXAMPLES}.items():
        document["components"]["schemas"][name]["examples"] = [example]
    paths[_STREAM] = {"get": _describe_stream()}
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of `bongsu key new`."},
        "basic": {"type": "http", "scheme": "basic", "description": "The key as password, to read."},
        "session": {"type": "apiKey", "in": "cookie", "name": "bongsu_session", "description": "Of POST /api/session."},
    }
    for path, item in paths.items():
        for method, operation in item.items():
            if path not in _OPEN:
                # Also without a key, if reading is open.
                reads: list[Json] = [{"basic": []}, {}] if method == "get" else []
                operation["security"] = [{"key": []}, {"session": []}, *reads]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                # Named, so that a generated client has a class of that name.
                name = content["schema"]["title"]
                document["components"]["schemas"][name] = content["schema"]
                content["schema"] = {"$ref": f"#/components/schemas/{name}"}
            for status, answer in operation["responses"].items():
                _correct(status, answer.get("content", {}))
    return document


def _correct(status: str, content: Json) -> None:
    """Correct what FastAPI cannot know: errors are JSON whatever an endpoint returns; pictures and clips are binary."""
    if status >= "400":
        for media in list(content):
            content["application/json"] = content.pop(media)
    for media in ("image/jpeg", "video/mp4", "application/octet-stream"):
        if media in content:
            content[media]["schema"] = {"type": "string", "format": "binary"}


def _describe_stream() -> Json:
    """Describe the live stream, which `live.py` serves before FastAPI sees the request."""
    refused = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {
        "tags": ["live"],
        "summary": "Follow what happens",
        "operationId": "follow",
        "description": (
            "Server-sent events `incident`, `post` and `camera`, whose id is a revision to resume after, and "
            "`pipeline`, `node`, `deployment` and `models`, which have none. "
            "A client that comes back sends `Last-Event-ID`. The same over WebSocket at "
            "`/api/incidents/ws` (`?after=&hazard=&bbox=`), as JSON messages `{event, id, data}`."
        ),
        "parameters": [
            {
                "name": name, "in": place, "required": False, "schema": _TEXT,
                "description": "Revision to resume after; without it, only new events are sent.",
            }
            for name, place in (("after", "query"), ("Last-Event-ID", "header"))
        ],
        "responses": {
            "200": {"description": "The stream; it does not end.", "content": {"text/event-stream": {"schema": _TEXT}}},
            **{
                str(status): {"description": _MEANINGS[status], "content": {"application/json": refused}}
                for status in (401, 422, 429, 503)
            },
        },
    }  # fmt: skip
