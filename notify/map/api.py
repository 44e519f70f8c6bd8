"""The map API: incidents as GeoJSON and live, the feed, snapshots and the page. Run: `python -m notify.map.api`."""

from __future__ import annotations

import asyncio
import contextlib
import html
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import msgspec
import structlog
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions import telemetry
from functions.settings import SettingsError
from notify import settings as environment
from notify.map import filters, views
from notify.map.pipeline import PipelineFile
from notify.map.retention import pruning
from notify.map.snapshots import SnapshotError, Snapshots
from notify.map.store import Store, StoreError
from notify.map.stream import Hub, TooManyReadersError
from notify.settings import Settings

log = structlog.get_logger()

PAGE = Path(__file__).with_name("page")
_FEED_LENGTH = 100
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Site:
    """What the endpoints work with, opened once per process."""

    settings: Settings
    store: Store
    snapshots: Snapshots
    pipeline: PipelineFile
    hub: Hub


class GeoJson(JSONResponse):
    """JSON by msgspec, under GeoJSON's own media type."""

    media_type = "application/geo+json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def create_app(site: Site) -> ASGIApp:
    """The application over an open site."""
    # The interactive pages of FastAPI load scripts from elsewhere; /openapi.json is there for any viewer.
    app = FastAPI(title="Bongsu", summary="Incidents seen by cameras, live", docs_url=None, redoc_url=None)
    app.state.site = site
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")
    app.add_exception_handler(filters.BadQueryError, _refuse_query)
    app.add_exception_handler(StoreError, _apologise)
    app.add_exception_handler(SnapshotError, _apologise)
    return SecureHeaders(app, _policy(site.settings.tile_url))


@contextlib.asynccontextmanager
async def open_site(settings: Settings) -> AsyncIterator[Site]:
    """Open the database, the snapshots and the live stream.

    Raises:
        StoreError: the database cannot be opened.
        SnapshotError: the snapshots cannot be opened.
    """
    store = await Store.open(settings.database_url, quiet_s=settings.quiet_s)
    try:
        pipeline = PipelineFile(settings.scale_status)
        hub = Hub(store, pipeline, public_url=_public(settings), readers_max=settings.streams_max)
        snapshots = Snapshots.open(settings.snapshot_url)
        async with hub.running(), pruning(snapshots, settings):
            yield Site(settings, store, snapshots, pipeline, hub)
    finally:
        await store.close()


def _site(request: Request) -> Site:
    return cast(Site, request.app.state.site)


AtSite = Annotated[Site, Depends(_site)]


@router.get("/api/incidents", response_class=GeoJson)
async def list_incidents(
    site: AtSite,
    *,
    hazard: str | None = None,
    since: str | None = None,
    bbox: str | None = None,
    camera: str | None = None,
    limit: str | None = None,
) -> Response:
    """Incidents, last seen first, as a GeoJSON FeatureCollection; start the live stream at its `revision`."""
    found = await site.store.incidents(
        hazards=filters.parse_hazards(hazard),
        since=filters.parse_since(since),
        bbox=filters.parse_bbox(bbox),
        camera=camera or None,
        limit=filters.parse_limit(limit),
    )
    quiet_s = site.settings.quiet_s
    features = [views.incident_feature(item, quiet_s) for item in found.items]
    return GeoJson(views.collection(features, revision=found.revision, quiet_s=quiet_s))


@router.get("/api/incidents/stream", response_class=StreamingResponse)
async def stream_incidents(site: AtSite, request: Request, after: str | None = None) -> Response:
    """Server-sent events `incident`, `post`, `camera` (id = revision) and `pipeline`; resumes after `Last-Event-ID`."""
    last = filters.parse_revision("Last-Event-ID", request.headers.get("last-event-id"))
    if last is None:
        last = filters.parse_revision("after", after)
    try:
        reader = site.hub.open()
    except TooManyReadersError as error:
        raise HTTPException(503, f"{error}: try again later", headers={"Retry-After": "5"}) from error
    # A proxy that buffers would hold back what is meant to be live.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(site.hub.read(reader, last), media_type="text/event-stream", headers=headers)


@router.get("/api/incidents/{incident_id}", response_class=GeoJson)
async def show_incident(site: AtSite, incident_id: str) -> Response:
    """One incident as a GeoJSON Feature."""
    incident = await site.store.incident(filters.parse_id(incident_id))
    if incident is None:
        raise HTTPException(404, f"there is no incident {incident_id}")
    return GeoJson(views.incident_feature(incident, site.settings.quiet_s))


@router.get("/api/incidents/{incident_id}/snapshot", response_class=Response)
async def show_snapshot(site: AtSite, incident_id: str, v: str | None = None) -> Response:
    """The incident's mosaicked picture."""
    incident = await site.store.incident(filters.parse_id(incident_id))
    if incident is None:
        raise HTTPException(404, f"there is no incident {incident_id}")
    if incident.snapshot_key is None:
        raise HTTPException(404, f"incident {incident_id} has no picture: it was withheld, or is not ready yet")
    is_current = v == str(incident.revision)
    return await _picture(site, incident.snapshot_key, is_lasting=is_current)


@router.get("/api/posts/{post_id}/snapshot", response_class=Response)
async def show_post_snapshot(site: AtSite, post_id: str) -> Response:
    """The mosaicked picture that went out with a post."""
    post = await site.store.post(filters.parse_id(post_id))
    if post is None:
        raise HTTPException(404, f"there is no post {post_id}")
    if post.snapshot_key is None:
        raise HTTPException(404, f"post {post_id} went out without a picture")
    return await _picture(site, post.snapshot_key, is_lasting=True)


@router.get("/api/cameras", response_class=GeoJson)
async def list_cameras(site: AtSite) -> Response:
    """All cameras and what was last heard of each, as a GeoJSON FeatureCollection."""
    return GeoJson(views.collection([views.camera_feature(camera) for camera in await site.store.cameras()]))


@router.get("/api/pipeline")
async def show_pipeline(site: AtSite) -> dict[str, Any]:
    """Queues and replicas, as the autoscaler of this machine last wrote them."""
    return site.pipeline.read()


@router.get("/feed.json")
async def show_feed(site: AtSite) -> Response:
    """The posts of the built-in channel, newest first, as a JSON Feed 1.1."""
    posts = await site.store.posts("feed", _FEED_LENGTH)
    body = msgspec.json.encode(views.feed(list(posts), _public(site.settings)))
    return Response(body, media_type="application/feed+json")


@router.get("/", include_in_schema=False)
@router.get("/feed", include_in_schema=False)
async def show_page(site: AtSite) -> Response:
    """The page: map, feed and pipeline; the tile server of the settings is written into it."""
    try:
        page = (PAGE / "index.html").read_text("utf-8")
    except OSError as error:
        raise HTTPException(404, "the page is not installed: reinstall bongsu with its package data") from error
    tiles, by = html.escape(site.settings.tile_url), html.escape(site.settings.tile_attribution)
    empty, filled = 'name="bongsu-tiles" content=""', f'name="bongsu-tiles" content="{tiles}"'
    page = page.replace(f'{empty} data-attribution=""', f'{filled} data-attribution="{by}"')
    return HTMLResponse(page, headers={"Cache-Control": "no-cache"})


@router.get("/healthz")
async def show_health(site: AtSite) -> dict[str, Any]:
    """Whether the database answers and the live stream runs."""
    if not site.hub.is_alive:
        raise HTTPException(503, "the live stream has stopped: restart this process")
    return {"status": "ok", "revision": await site.store.revision()}


@router.get("/metrics", include_in_schema=False)
async def show_metrics() -> Response:
    """Prometheus metrics of this process and of those that it shares files with."""
    body, content_type = telemetry.render_metrics()
    return Response(body, headers={"Content-Type": content_type})


async def _picture(site: Site, key: str, *, is_lasting: bool) -> Response:
    redacted = await site.snapshots.get(key)
    if redacted is None:
        raise HTTPException(404, "the picture is no longer kept")
    caching = "public, max-age=86400, immutable" if is_lasting else "no-cache"
    return Response(redacted.jpeg, media_type="image/jpeg", headers={"Cache-Control": caching})


def _public(settings: Settings) -> str:
    return settings.public_url.rstrip("/")


def _policy(tile_url: str) -> str:
    """Content-Security-Policy of the page: its own files, and pictures from the tile server if there is one."""
    parts = urlsplit(tile_url)
    # Leaflet writes `{s}` for a subdomain, which the policy calls `*`.
    tiles = f" {parts.scheme}://{parts.netloc.replace('{s}', '*')}" if tile_url else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; "
        f"img-src 'self'{tiles}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )


class SecureHeaders:
    """Adds to every answer what a browser may do with it. Plain ASGI, so that a stream passes through unbuffered."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_secured)


async def _refuse_query(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 422)


async def _apologise(_: Request, error: Exception) -> Response:
    # The reason may name the database's host: that is for the log.
    log.warning("request_failed", reason=str(error))
    return JSONResponse({"detail": "the database or the picture store is not available: try again later"}, 503)


class Server(uvicorn.Server):
    """uvicorn, but leaving ends the open streams first: it would wait for them for ever."""

    def __init__(self, site: Site) -> None:
        # `access_log` off: who looks at alerts is nobody's business, and each page holds a stream anyway.
        super().__init__(
            uvicorn.Config(
                create_app(site),
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._hub = site.hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.end_all()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A socket on that address.

    Raises:
        OSError: the address is taken or not ours; the message says so and what to do.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise OSError(f"BONGSU_HTTP_HOST: cannot use {host!r}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(f"port {port} on {host}: {reason}: free it or set BONGSU_HTTP_PORT to another") from error
    return listener


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StoreError: the database cannot be opened.
        SnapshotError: the snapshots cannot be opened.
    """
    async with open_site(settings) as site:
        server = Server(site)
        # uvicorn raises a signal again once it has stopped; to stop when told to is no failure, so it ends here.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: setattr(server, "should_exit", True))
        host, port = listener.getsockname()[:2]
        log.info("api_listening", url=f"http://{host}:{port}/")
        await server.serve(sockets=[listener])


def main() -> int:
    """Serve as the environment says; the exit status."""
    try:
        settings = environment.load()
        telemetry.start("api")
        with listen(settings.http_host, settings.http_port) as listener:
            asyncio.run(serve(settings, listener))
    except (SettingsError, StoreError, SnapshotError, OSError) as error:
        print(f"bongsu api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
