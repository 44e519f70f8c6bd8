"""The definition of the OGC API as OpenAPI 3.0, which its conformance class asks for; `/openapi.json` is 3.1."""

from __future__ import annotations

from typing import Any

from api.ogc import documents
from api.ogc.questions import CAMERAS, INCIDENTS, LIMIT, LIMIT_MAX
from functions.hazards import HAZARDS

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_LIST_OF = {"type": "array"}
_PARAMETERS: dict[str, tuple[str, Json]] = {
    "f": ("The form of the answer.", {"type": "string", "enum": ["json", "geojson"]}),
    "bbox": (
        "West, south, east, north in degrees; west > east crosses the date line. Six numbers have heights too.",
        {**_LIST_OF, "items": _NUMBER, "oneOf": [{"minItems": 4, "maxItems": 4}, {"minItems": 6, "maxItems": 6}]},
    ),
    "datetime": ("When it was last seen: a time, or an interval such as 2026-11-22T00:00:00Z/.. of RFC 3339.", _TEXT),
    "limit": (
        "At most so many; more than the maximum is the maximum.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
    ),
    "cursor": ("Where a page begins: follow the `next` link.", _TEXT),
    "hazard": ("Only these.", {**_LIST_OF, "items": {"type": "string", "enum": list(HAZARDS)}}),
    "camera": ("Only of this camera.", _TEXT),
    "status": ("Only these.", {**_LIST_OF, "items": {"type": "string", "enum": ["open", "closed"]}}),
}
_FEATURE_ID: Json = {"name": "featureId", "in": "path", "required": True, "schema": _TEXT}


def define(root: str) -> Json:
    """The document; `root` is the address of the landing page."""
    paths = {
        "/": _get("landingPage", "Landing page", "Landing"),
        "/conformance": _get("conformance", "Conformance classes", "Conformance"),
        "/collections": _get("collections", "All collections", "Collections"),
    }
    for name, known in (("incidents", INCIDENTS), ("cameras", CAMERAS)):
        title, description = documents.TITLES[name]
        here = f"/collections/{name}"
        paths[here] = _get(f"{name}Collection", f"{title}: the collection", "Collection")
        paths[f"{here}/items"] = _get(f"{name}Items", description, "Features", known=known, kind=documents.GEOJSON)
        paths[f"{here}/items/{{featureId}}"] = _get(
            f"{name}Item", f"{title}: one of them", "Feature", kind=documents.GEOJSON, path=[_FEATURE_ID]
        )
    return {
        "openapi": "3.0.3",
        "info": {"title": "Bongsu", "version": "1", "description": "Incidents seen by cameras, as OGC API - Features"},
        "servers": [{"url": root}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key as password."},
            },
        },
        # Without a key as well, where reading is open.
        "security": [{"key": []}, {"basic": []}, {}],
    }


def _get(
    name: str,
    summary: str,
    schema: str,
    *,
    known: tuple[str, ...] = ("f",),
    kind: str = "application/json",
    path: list[Json] | None = None,
) -> Json:
    parameters = [_parameter(one) for one in known]
    refused = _answer("The value and the fix in one line.", "Error", "application/json")
    statuses = ("400", "401", *(("404",) if path else ()), "429", "503")
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["features"],
            "parameters": [*(path or []), *parameters],
            "responses": {"200": _answer(summary, schema, kind)} | dict.fromkeys(statuses, refused),
        }
    }


def _parameter(name: str) -> Json:
    description, schema = _PARAMETERS[name]
    lists = {"style": "form", "explode": False} if schema["type"] == "array" else {}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema, **lists}


def _answer(description: str, schema: str, kind: str) -> Json:
    return {"description": description, "content": {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _object(required: str, **properties: Json) -> Json:
    return {"type": "object", "required": required.split(), "properties": properties}


def _list(name: str) -> Json:
    return {**_LIST_OF, "items": {"$ref": f"#/components/schemas/{name}"}}


_SCHEMAS: Json = {
    "Link": _object("href rel type", href=_TEXT, rel=_TEXT, type=_TEXT, title=_TEXT),
    "Landing": _object("links", title=_TEXT, description=_TEXT, links=_list("Link")),
    "Conformance": _object("conformsTo", conformsTo={**_LIST_OF, "items": _TEXT}),
    "Collection": _object(
        "id links extent itemType crs",
        id=_TEXT, title=_TEXT, description=_TEXT, links=_list("Link"), extent={"type": "object"},
        itemType={"type": "string", "enum": ["feature"]}, crs={**_LIST_OF, "items": _TEXT},
    ),
    "Collections": _object("links collections", links=_list("Link"), collections=_list("Collection")),
    "Feature": _object(
        "type id geometry properties",
        type={"type": "string", "enum": ["Feature"]}, id={"oneOf": [_TEXT, {"type": "integer"}]},
        geometry=_object(
            "type coordinates",
            type={"type": "string", "enum": ["Point"]},
            coordinates={**_LIST_OF, "items": _NUMBER, "minItems": 2, "maxItems": 2},
        ),
        properties={"type": "object"}, links=_list("Link"),
    ),
    "Features": _object(
        "type features links numberReturned",
        type={"type": "string", "enum": ["FeatureCollection"]}, features=_list("Feature"), links=_list("Link"),
        numberReturned={"type": "integer", "minimum": 0},
    ),
    "Error": _object("detail", detail=_TEXT),
}  # fmt: skip
