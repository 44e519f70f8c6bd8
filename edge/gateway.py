"""The endpoint for nodes: with its token a node pulls models and reports its own state, and can do nothing else.

Run: `python -m edge.gateway`, or `bongsu fleet gateway`. It has no SSH key and no signing key; it keeps the registry's
password to itself, so that no node ever sees it. Reports are left in `reports/` for `service.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import contextlib
import re
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from edge.errors import FleetError
from edge.oci.manifest import is_digest
from edge.oci.registry import Registry, open_registry
from edge.reports import MAX_REPORT_BYTES, Report, ReportFolder
from edge.settings import FleetSettings, GatewaySettings, read_gateway_settings, read_settings
from edge.tokens import Token, TokenFile
from functions import telemetry
from functions.stopping import stop_event

log = structlog.get_logger()

_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_RANGE = re.compile(r"bytes=(\d{1,15})-")
_TOKEN_CHARS = 200
_REPORT_S = 1.0
"""Between two reports of a node: a stolen one fills no disk and wakes nobody more often."""
_LOCAL = ("127.0.0.1", "::1", "localhost")
_SETTINGS = web.AppKey("settings", FleetSettings)
_TOKENS = web.AppKey("tokens", TokenFile)
_REPORTS = web.AppKey("reports", ReportFolder)
_REGISTRY = web.AppKey("registry", Registry)
_REPORTED = web.AppKey("reported", dict[str, float])
_NODE = web.RequestKey("node", str)


def make_app(settings: FleetSettings) -> web.Application:
    """The gateway of one fleet as an application."""
    app = web.Application(middlewares=[_admit], client_max_size=MAX_REPORT_BYTES)
    app[_SETTINGS], app[_TOKENS] = settings, TokenFile(settings.folder)
    app[_REPORTS] = ReportFolder(settings.folder)
    app[_REPORTED] = {}
    app.cleanup_ctx.append(_with_registry)
    app.router.add_get("/v2/", _say_registry)
    app.router.add_get("/v2/{name:.+}/manifests/{reference}", _send_manifest)
    app.router.add_get("/v2/{name:.+}/blobs/{digest}", _send_blob)
    app.router.add_post("/nodes/{node}/report", _take_report)
    return app


async def serve(settings: FleetSettings, gateway: GatewaySettings) -> None:
    """Serve nodes until SIGTERM or SIGINT.

    Raises:
        FleetError: tokens would come unencrypted, or the certificate cannot be read.
    """
    tls = _tls(gateway)
    stopping = stop_event()
    runner = web.AppRunner(make_app(settings), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, gateway.host, gateway.port, ssl_context=tls).start()
        log.info("gateway_started", host=gateway.host, port=gateway.port)
        await stopping.wait()
    finally:
        await runner.cleanup()


@web.middleware
async def _admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who has a valid token, and hide what goes wrong here from who has not."""
    try:
        request[_NODE] = _owner(request).node
        return await handler(request)
    except FleetError as error:
        log.error("gateway_failed", path=request.path, reason=str(error))
        raise web.HTTPBadGateway(text="the registry or the fleet's folder failed: the gateway's log says how") from None


def _owner(request: web.Request) -> Token:
    user, token = _credentials(request.headers.get("Authorization", ""))
    found = request.app[_TOKENS].find(token) if token else None
    if found is None:
        raise web.HTTPUnauthorized(text="a node's token is needed", headers={"WWW-Authenticate": 'Basic realm="fleet"'})
    if found.revoked_at is not None:
        log.warning("revoked_token_used", node=found.node, remote=request.remote)
        raise web.HTTPForbidden(text="this token was revoked")
    if user is not None and user != found.node:
        raise web.HTTPForbidden(text="this token is another node's")
    return found


def _credentials(header: str) -> tuple[str | None, str]:
    """User and token: of `Bearer`, or of `Basic` with the node's name as the user, as container runtimes send it."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return None, value[:_TOKEN_CHARS]
    if scheme.lower() != "basic":
        return None, ""
    try:
        user, _, token = base64.b64decode(value[: 2 * _TOKEN_CHARS], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, ""
    return user, token[:_TOKEN_CHARS]


async def _with_registry(app: web.Application) -> AsyncIterator[None]:
    settings = app[_SETTINGS]
    app[_REGISTRY] = registry = open_registry(replace(settings, writer=settings.reader))
    yield
    await registry.close()


async def _say_registry(request: web.Request) -> web.Response:
    return web.json_response({})


async def _send_manifest(request: web.Request) -> web.Response:
    name, reference = request.match_info["name"], request.match_info["reference"]
    if _NAME.fullmatch(name) is None or not (is_digest(reference) or _TAG.fullmatch(reference)):
        raise web.HTTPBadRequest(text="no such name of a manifest")
    registry = request.app[_REGISTRY]
    found = await registry.resolve(name, reference)
    if found is None:
        raise web.HTTPNotFound(text="no such manifest")
    content = await registry.read_manifest(name, found.digest)
    headers = {"Docker-Content-Digest": found.digest}
    return web.Response(body=content, content_type=found.media_type, headers=headers)


async def _send_blob(request: web.Request) -> web.StreamResponse:
    name, digest = request.match_info["name"], request.match_info["digest"]
    if _NAME.fullmatch(name) is None or ".." in name or not is_digest(digest):
        raise web.HTTPBadRequest(text="no such name of a blob")
    registry = request.app[_REGISTRY]
    if not await registry.has_blob(name, digest):
        raise web.HTTPNotFound(text="no such blob")
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    offset = int(asked[1]) if asked else 0
    answer = web.StreamResponse(status=206 if offset else 200, headers={"Docker-Content-Digest": digest})
    answer.content_type = "application/octet-stream"
    await answer.prepare(request)
    if request.method == "GET":
        async for chunk in registry.read_blob(name, digest, offset):
            _owner(request)  # a transfer ends where its token does
            await answer.write(chunk)
    await answer.write_eof()
    return answer


async def _take_report(request: web.Request) -> web.Response:
    node = request.match_info["node"]
    if node != request[_NODE]:
        log.warning("foreign_report_refused", node=request[_NODE])
        raise web.HTTPForbidden(text="a node reports of itself alone")
    now, last = time.monotonic(), request.app[_REPORTED]
    if now - last.get(node, -_REPORT_S) < _REPORT_S:
        raise web.HTTPTooManyRequests(text="one report a second")
    last[node] = now
    try:
        report = msgspec.json.decode(await request.read(), type=Report)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"not a report: {str(error)[:200]}") from None
    await asyncio.to_thread(request.app[_REPORTS].put, node, report)
    return web.Response(status=204)


def _tls(gateway: GatewaySettings) -> ssl.SSLContext | None:
    if gateway.certificate is None or gateway.key is None:
        if gateway.host not in _LOCAL:
            raise FleetError(
                f"the gateway on {gateway.host} would read tokens unencrypted: name BONGSU_GATEWAY_CERTIFICATE and "
                "BONGSU_GATEWAY_KEY, or listen on 127.0.0.1 behind a proxy that has them"
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(gateway.certificate, gateway.key)
    except (OSError, ssl.SSLError) as error:
        raise FleetError(f"BONGSU_GATEWAY_CERTIFICATE or …_KEY cannot be read: {error}") from None
    return context


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as the environment says; the exit status."""
    argparse.ArgumentParser(prog="python -m edge.gateway", description="The endpoint for nodes.").parse_args(arguments)
    try:
        settings, gateway = read_settings(), read_gateway_settings()
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        telemetry.start("gateway")
        telemetry.set_healthy(True)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(settings, gateway))
    except (FleetError, OSError) as error:
        print(f"bongsu fleet gateway: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
