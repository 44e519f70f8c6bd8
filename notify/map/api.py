"""The map API: incidents as GeoJSON and live, feeds, snapshots and the page. Run: `python -m notify.map.api`.

Each noun has its file of endpoints; here they are put together and served.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from functions import telemetry
from functions.settings import SettingsError
from notify import settings as environment
from notify.map import cameras, feeds, filters, incidents, pages, sessions
from notify.map.guard import WRONG_KEYS_A_MINUTE, Guard, RefusedError
from notify.map.keys import KeyFileError, Keyring
from notify.map.limits import Buckets, Proxies
from notify.map.pages import PAGE, SecureHeaders
from notify.map.pipeline import PipelineFile
from notify.map.retention import pruning
from notify.map.site import AtSite, Site
from notify.map.snapshots import SnapshotError, Snapshots
from notify.map.store import Store, StoreError
from notify.map.stream import Hub, TooManyReadersError
from notify.settings import Settings, split

__all__ = ["Server", "Site", "create_app", "listen", "main", "open_site", "serve"]

log = structlog.get_logger()

router = APIRouter()


def create_app(site: Site) -> ASGIApp:
    """The application over an open site."""
    # The interactive pages of FastAPI load scripts from elsewhere; /openapi.json is there for any viewer.
    app = FastAPI(title="Bongsu", summary="Incidents seen by cameras, live", docs_url=None, redoc_url=None)
    app.state.site = site
    for noun in (router, sessions.router, incidents.router, cameras.router, feeds.router, pages.router):
        app.include_router(noun)
    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")
    app.add_exception_handler(filters.BadQueryError, _refuse_query)
    app.add_exception_handler(RefusedError, _refuse)
    app.add_exception_handler(StoreError, _apologise)
    app.add_exception_handler(SnapshotError, _apologise)
    outer: ASGIApp = SecureHeaders(Guard(app, site), pages.policy(site.settings.tile_url))
    origins = split(site.settings.cors_origins)
    if not origins:
        return outer
    # Without credentials: a page elsewhere sends its own key, and never the cookie of who happens to look at it.
    return CORSMiddleware(
        outer,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID"),
        expose_headers=("ETag", "Retry-After"),
        max_age=3600,
    )


@contextlib.asynccontextmanager
async def open_site(settings: Settings) -> AsyncIterator[Site]:
    """Open the database, the snapshots and the live stream.

    Raises:
        KeyFileError: the file of keys cannot be used.
        StoreError: the database cannot be opened.
        SnapshotError: the snapshots cannot be opened.
    """
    keys = Keyring.open(settings.api_keys)
    store = await Store.open(settings.database_url, quiet_s=settings.quiet_s)
    try:
        pipeline = PipelineFile(settings.scale_status)
        hub = Hub(store, pipeline, public_url=settings.public_url.rstrip("/"), readers_max=settings.streams_max)
        snapshots = Snapshots.open(settings.snapshot_url)
        requests, failures = Buckets(settings.rate_limit), Buckets(WRONG_KEYS_A_MINUTE)
        proxies = Proxies(split(settings.trusted_proxies))
        async with hub.running(), pruning(snapshots, settings):
            yield Site(settings, store, snapshots, pipeline, hub, keys, requests, failures, proxies)
    finally:
        await store.close()


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


async def _refuse_query(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 422)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return error.answer()


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
                # Whose word is believed is decided by `limits.py` alone.
                proxy_headers=False,
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
        KeyFileError: the file of keys cannot be used.
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
    except (SettingsError, KeyFileError, StoreError, SnapshotError, OSError) as error:
        print(f"bongsu api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
