"""The endpoints of the fleet: nodes, models and deployments; the audit log for operators.

They only read. A change (deploy, roll back, drain) takes the SSH keys of the nodes and the key that signs, and this
process, which the public can reach, must have neither: changes are made with `bongsu models` and `bongsu nodes`.
"""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException

from api import fleet_views, schemas_fleet
from api.openapi import answers
from api.site import AsCaller, AtSite
from web.answers import GeoJson, Json, answer_json

router = APIRouter(tags=["fleet"])
_BEARER = {401: {"WWW-Authenticate": "Bearer"}, 403: {}}
_NOT_KEPT = {"Cache-Control": "no-store"}


@router.get(
    "/api/nodes", response_class=GeoJson, response_model=schemas_fleet.Nodes, responses=answers(200, 304, 401, 429)
)
async def list_nodes(site: AtSite, request: Request) -> Response:
    """All nodes, how they are and what they run, as GeoJSON; `geometry` is null where no place is known."""
    status = site.fleet.read()
    return answer_json(request, site, fleet_views.nodes(status))


@router.get(
    "/api/models", response_class=Json, response_model=schemas_fleet.Models, responses=answers(200, 304, 401, 429)
)
async def list_models(site: AtSite, request: Request) -> Response:
    """The models of the registry, their versions, and the nodes that run each."""
    return answer_json(request, site, fleet_views.models(site.fleet.read()), "application/json")


@router.get(
    "/api/deployments",
    response_class=Json,
    response_model=schemas_fleet.Deployments,
    responses=answers(200, 304, 401, 429),
)
async def list_deployments(site: AtSite, caller: AsCaller, request: Request) -> Response:
    """Deployments and rollbacks, newest first, and how far each is; who and why is for an operator alone."""
    is_operator = caller.role == "operator"
    content = fleet_views.deployments(site.fleet.read(), is_operator=is_operator)
    if is_operator:
        return Json(msgspec.json.encode(content), headers=_NOT_KEPT)
    return answer_json(request, site, content, "application/json")


@router.get("/api/audit", response_class=Json, response_model=schemas_fleet.Audit, responses=answers(401, 403, 429))
async def list_audit(site: AtSite, caller: AsCaller) -> Response:
    """Who changed what in the fleet, newest first; for an operator."""
    if caller.role != "operator":
        status = 401 if caller.role is None else 403
        raise HTTPException(
            status, "the audit log takes an operator's key: send Authorization: Bearer KEY", _BEARER[status]
        )
    content = fleet_views.audit(site.fleet.read())
    return Json(msgspec.json.encode(content), headers=_NOT_KEPT)
