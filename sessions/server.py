"""The receive server: opens sessions for clients, and forwards their WebSockets; `python -m sessions.server`.

It keeps no state: any number of them can serve one cluster, and be killed and restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from functions import telemetry
from functions.settings import SettingsError, split
from sessions import endpoints, legacy, problems, settings, transfers
from sessions.allocator import Allocator
from sessions.backend import Backend
from sessions.homecoming import Homecoming
from sessions.keeper import Keeper
from sessions.offload import Upstreams
from sessions.problems import ProblemError
from sessions.records import BackendError
from sessions.remote import AgentClient
from sessions.settings import Settings
from sessions.site import SessionSite
from sessions.tokens import Tokens
from sessions.tunnel import tunnel_class
from web.background import in_background
from web.guard import WRONG_KEYS_A_MINUTE, Guard, RefusedError
from web.keys import KeyFileError, Keyring
from web.limits import Buckets, Proxies
from web.serving import BoundedHeaders, address_of, listen, serve_until_stopped

log = structlog.get_logger()


def create_app(site: SessionSite) -> ASGIApp:
    """The application over an open site."""
    # Starlette rather than FastAPI, whose import takes longer than all others together: a killed server is soon back.
    app = Starlette(
        routes=[*endpoints.ROUTES, *transfers.ROUTES, *legacy.ROUTES],
        exception_handlers={
            ProblemError: problems.answer_problem,
            HTTPException: problems.answer_http,
            RefusedError: _refuse,
            BackendError: _apologise,
        },
    )
    app.state.site = site
    outer: ASGIApp = Guard(app, site, guarded=("/sessions", "/drain"), sign_in="", answer=problems.answer_refused)
    if not (origins := split(site.settings.cors_origins)):
        return outer
    return CORSMiddleware(
        outer,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PATCH", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "Session-Token"),
        expose_headers=("Location", "Retry-After"),
        max_age=3600,
    )


@contextlib.asynccontextmanager
async def open_site(config: Settings) -> AsyncIterator[SessionSite]:
    """Connect to the cluster, and manage its sessions while this context is open.

    Raises:
        KeyFileError: the key file cannot be used.
        SettingsError: a file in the settings cannot be used.
    """
    keys = Keyring.open(config.api_keys)
    tokens = Tokens.open(Path(config.sessions_state) / "secret")
    upstreams = Upstreams(
        split(config.sessions_upstream), config.name, config.sessions_hops, _read_key(config.sessions_upstream_key)
    )
    async with _open_backend(config) as backend, contextlib.aclosing(upstreams):
        allocator = Allocator(backend, config, tokens)
        keeper = Keeper(allocator, config, upstreams)
        site = SessionSite(
            config, allocator, keeper, upstreams, keys, Buckets(config.rate_limit), Buckets(WRONG_KEYS_A_MINUTE),
            Proxies(split(config.trusted_proxies)),
        )  # fmt: skip
        async with (
            in_background("dispatch", allocator.dispatch()),
            in_background("keeper", keeper.run()),
            in_background("upstreams", upstreams.watch()),
            in_background("homecoming", Homecoming(allocator, upstreams).run()),
            legacy.listening(site),
        ):
            yield site


def _open_backend(config: Settings) -> contextlib.AbstractAsyncContextManager[Backend]:
    if config.sessions_cluster == "machine":
        return AgentClient(config.socket).running()
    # Imported here, because a single machine does not need it.
    from lightkube import AsyncClient, ConfigError

    from sessions.kubernetes import KubernetesBackend

    try:
        client = AsyncClient()
    except ConfigError as error:
        raise SettingsError(f"BONGSU_SESSIONS_CLUSTER is 'kubernetes': {error}: set KUBECONFIG") from None
    return KubernetesBackend(client, config.sessions_class_label).running()


class Server(uvicorn.Server):
    """uvicorn with tunnels in place of WebSockets."""

    def __init__(self, site: SessionSite) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(site),
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                http=BoundedHeaders,
                ws=tunnel_class(site),
                timeout_graceful_shutdown=5,
            )
        )


async def serve(config: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        KeyFileError: the key file cannot be used.
        SettingsError: a file in the settings cannot be used.
        OSError: a port for clients of k8s-rcv-ml is taken.
    """
    async with open_site(config) as site:
        server = Server(site)
        log.info("receive_server_listening", url=address_of(listener))
        await serve_until_stopped(server, listener)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return problems.answer_refused(error)


async def _apologise(_: Request, error: Exception) -> Response:
    # The reason may contain paths of this machine, so it only goes to the log.
    log.warning("request_failed", reason=str(error))
    return ProblemError(
        503, "unavailable", "the cluster does not answer", "try again in a few seconds", {"Retry-After": "2"}
    ).answer()


def _read_key(path: str) -> str:
    try:
        return Path(path).read_text().strip() if path else ""
    except OSError as error:
        raise SettingsError(f"BONGSU_SESSIONS_UPSTREAM_KEY: cannot read {path}: {error.strerror}") from None


def main() -> int:
    """Serve with the settings of the environment; returns the exit status."""
    try:
        config = settings.load()
        telemetry.start("sessions")
        with listen(config.sessions_host, config.sessions_port, "BONGSU_SESSIONS") as listener:
            asyncio.run(serve(config, listener))
    except (SettingsError, KeyFileError, OSError) as error:
        print(f"bongsu sessions: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
