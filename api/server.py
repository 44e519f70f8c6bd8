"""The map API: incidents as GeoJSON and live, feeds, snapshots and the page. Run: `python -m api.server`.

Each noun has its file of endpoints; this module combines and serves them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api import (
    camera_setup,
    cameras,
    clips,
    feeds,
    filters,
    fleet,
    hooks,
    incidents,
    openapi,
    pages,
    public_clips,
    push,
    signin,
)
from api import settings as environment
from api.audit import auditing
from api.fleet_status import FleetStatusFile
from api.gateway import HookGateway
from api.live import Live
from api.ogc import endpoints as ogc
from api.pages import PAGE, SecureHeaders
from api.paths import Methods, SubPath
from api.pipeline import PipelineFile
from api.releases import releasing
from api.retention import pruning
from api.roads import endpoints as roads
from api.roads.stretches import Roads, RoadsError
from api.settings import Settings
from api.site import Site
from api.stream import Hub
from api.withdrawals import withdrawing
from functions import telemetry
from functions.hook import read_hooks
from functions.settings import SettingsError, split
from functions.settings import load as load_settings
from store import Store, StoreError
from store.clips import ClipError, Clips
from store.public_clips import PublicClips
from store.snapshots import SnapshotError, Snapshots
from web import serving
from web.guard import WRONG_KEYS_A_MINUTE, Guard, RefusedError
from web.keys import KeyFileError, Keyring
from web.limits import Buckets, Proxies

__all__ = ["Server", "Site", "create_app", "listen", "main", "open_site", "serve"]

log = structlog.get_logger()

GUARDED = ("/api/", "/hooks/", "/feed.json", "/feed.atom", "/cap.xml", "/cap/", "/cifs.json", "/datex.xml", "/ogc")
"""Prefixes of the paths that show incidents; the page itself has no data, and users sign in there."""

BASIC = GUARDED[2:]
"""Those for feed readers, dispatch systems and GIS programs; not for pictures, for which a browser opens a dialog."""

_STALLED_MS = 30_000
_OTHER_FILES = 256


def create_app(site: Site) -> ASGIApp:
    """The application over an open site."""
    # FastAPI's interactive pages load scripts from other sites; any viewer can load /openapi.json.
    app = FastAPI(
        title="Bongsu",
        summary="Incidents seen by cameras, live",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Short names for the methods of generated clients.
        generate_unique_id_function=lambda route: route.name,
        servers=[{"url": site.prefix}] if site.prefix else None,
    )
    app.state.site = site
    for noun in (
        signin,
        incidents,
        clips,
        public_clips,
        cameras,
        camera_setup,
        fleet,
        feeds,
        roads,
        ogc,
        hooks,
        push,
        pages,
    ):
        app.include_router(noun.router)
    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")
    app.add_exception_handler(RequestValidationError, _refuse_query)
    app.add_exception_handler(RefusedError, _refuse)
    app.add_exception_handler(StoreError, _apologise)
    app.add_exception_handler(SnapshotError, _apologise)
    app.add_exception_handler(ClipError, _apologise)
    app.openapi = functools.partial(openapi.describe, app)  # type: ignore[method-assign]
    inner = Guard(Live(app, site), site, guarded=GUARDED, sign_in=signin.PATH, basic=BASIC)
    outer: ASGIApp = SecureHeaders(
        SubPath(Methods(inner, app.routes), site.prefix),
        pages.policy(
            site.settings.tile_url,
            site.settings.sessions_url,
            has_clips=site.clips is not None,
            has_public_clips=site.public_clips is not None,
        ),
    )
    origins = split(site.settings.cors_origins)
    if not origins:
        return outer
    # Without credentials: a page on another site sends its own key, never the cookie of its visitor.
    return CORSMiddleware(
        outer,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID", "Idempotency-Key", "Prefer"),
        expose_headers=("ETag", "Retry-After", "Location", "Preference-Applied"),
        max_age=3600,
    )


@contextlib.asynccontextmanager
async def open_site(settings: Settings) -> AsyncIterator[Site]:
    """Open the database, the snapshots and the live stream.

    Raises:
        KeyFileError: the key file cannot be used.
        RoadsError: the file of roads cannot be used.
        StoreError: the database cannot be opened.
        SnapshotError: the snapshots cannot be opened.
        ClipError: the clips cannot be opened.
    """
    keys, stretches = Keyring.open(settings.api_keys), Roads.open(settings.roads)
    store = await Store.open(settings.database_url, quiet_s=settings.quiet_s)
    try:
        pipeline = PipelineFile(settings.scale_status)
        fleet_status = FleetStatusFile(settings.fleet_status)
        hub = Hub(
            store, pipeline, fleet_status, public_url=settings.public_url.rstrip("/"), readers_max=settings.streams_max
        )
        snapshots = Snapshots.open(settings.snapshot_url)
        sealed = Clips.open(settings.clip_url) if settings.clip_url else None
        public = PublicClips.open(settings.public_clip_url) if settings.public_clip_url else None
        requests, failures = Buckets(settings.rate_limit), Buckets(WRONG_KEYS_A_MINUTE)
        proxies = Proxies(split(settings.trusted_proxies))
        keep = timedelta(hours=settings.hook_keep_hours)
        gateway = HookGateway(read_hooks(settings.hooks), store, load_settings().broker_url, keep)
        subscribers = Buckets(settings.push_per_address / 1440, holds=settings.push_per_address)
        async with (
            hub.running(), pruning(snapshots, settings, sealed, public), auditing(store), gateway.running(),
            withdrawing(store, settings), releasing(store),
        ):  # fmt: skip
            identity = await store.identity.read()
            yield Site(
                settings, store, snapshots, pipeline, hub, gateway, keys, requests, failures, proxies, stretches,
                identity, fleet_status, subscribers, sealed, public,
            )  # fmt: skip
    finally:
        await store.close()


async def _refuse_query(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": filters.describe_error(error.errors()[0])}, 422)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return error.answer()


async def _apologise(_: Request, error: Exception) -> Response:
    # The reason may contain the database's host, so it only goes to the log.
    log.warning("request_failed", reason=str(error))
    return JSONResponse({"detail": "the database or the picture store is not available: try again later"}, 503)


class Server(uvicorn.Server):
    """uvicorn, but a shutdown ends open streams and waiting requests first, for which it would wait without limit."""

    def __init__(self, site: Site) -> None:
        # `access_log` is off: who reads alerts is private, and each page holds a stream anyway.
        super().__init__(
            uvicorn.Config(
                create_app(site),
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                # Only `limits.py` decides which proxies are trusted.
                proxy_headers=False,
                # h11 and compression would take more memory for each reader than everything else.
                http=serving.BoundedHeaders,
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                ws_max_size=4096,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=site.settings.http_keep_alive_s,
            )
        )
        self._hub = site.hub
        self._gateway = site.gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.end_all()
        self._gateway.end_waits()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket for many long-lived readers.

    Raises:
        OSError: the address is taken or not this machine's; the message has the fix.
    """
    # After a restart all readers reconnect within a second or two. One that reads nothing is asleep or malicious.
    return serving.listen(host, port, "BONGSU_HTTP", backlog=2048, stalled_ms=_STALLED_MS)


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        KeyFileError: the key file cannot be used.
        RoadsError: the file of roads cannot be used.
        StoreError: the database cannot be opened.
        SnapshotError: the snapshots cannot be opened.
        ClipError: the clips cannot be opened.
    """
    async with open_site(settings) as site:
        server = Server(site)
        telemetry.set_healthy(True)
        log.info("api_listening", url=serving.address_of(listener))
        await serving.serve_until_stopped(server, listener)


def allow_files(readers_max: int) -> None:
    """Raise the limit of open files to one for each reader, as far as the system allows; log if that is not enough."""
    wanted = readers_max + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            log.warning("few_files", readers_max=readers_max, files=soft, fix="raise `ulimit -Hn` or lower the readers")


def main() -> int:
    """Serve with the settings of the environment; returns the exit status."""
    try:
        settings = environment.load()
        allow_files(settings.streams_max)
        telemetry.start("api")
        with listen(settings.http_host, settings.http_port) as listener:
            asyncio.run(serve(settings, listener))
    except (SettingsError, KeyFileError, RoadsError, StoreError, SnapshotError, ClipError, OSError) as error:
        print(f"bongsu api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
