"""The endpoints of cameras and of the pipeline behind them."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException

from api import schemas, views
from api.filters import CameraId, VersionQuery
from api.openapi import answers
from api.pictures import Jpeg, picture
from api.site import AtSite
from web.answers import GeoJson, Json, answer_json

router = APIRouter(tags=["cameras"])


@router.get(
    "/api/cameras", response_class=GeoJson, response_model=schemas.Cameras, responses=answers(200, 304, 401, 429, 503)
)
async def list_cameras(site: AtSite, request: Request) -> Response:
    """All cameras and their last reported states, as a GeoJSON FeatureCollection."""
    features = [views.camera_feature(camera, site.prefix) for camera in await site.store.cameras.all()]
    return answer_json(request, site, views.collection(features))


# A camera's id may contain a slash.
@router.get(
    "/api/cameras/{camera_id:path}/snapshot", response_class=Jpeg, responses=answers(200, 304, 401, 404, 422, 429, 503)
)
async def show_camera_snapshot(site: AtSite, request: Request, camera_id: CameraId, v: VersionQuery = None) -> Response:
    """The camera's newest mosaicked picture, 320 pixels wide; full size if there is no thumbnail."""
    camera = await site.store.cameras.get(camera_id)
    if camera is None:
        raise HTTPException(404, f"there is no camera {camera_id[:128]!r}")
    if camera.snapshot_key is None:
        raise HTTPException(404, f"camera {camera_id!r} has no picture: nothing was seen there yet")
    is_lasting = v == views.picture_version(camera.snapshot_key)
    return await picture(request, site, camera.snapshot_key, is_lasting=is_lasting, is_small=True)


@router.get("/api/pipeline", response_model=schemas.Pipeline, responses=answers(401, 429, 503))
async def show_pipeline(site: AtSite) -> Response:
    """Queues and replicas, as last written by this machine's autoscaler."""
    return Json(msgspec.json.encode(site.pipeline.read()))
