"""The page, what a browser may do with it, and what those ask who keep the process running."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import HTMLResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import views
from api.site import AtSite
from functions import telemetry
from web.answers import answer_json

PAGE = Path(__file__).with_name("page")
router = APIRouter(tags=["process"])


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


@router.get("/hazards.json")
async def show_hazards(site: AtSite, request: Request) -> Response:
    """The hazards that are told of: their names, colours, shapes and glyphs, in the order the page shows them."""
    return answer_json(request, site, views.hazard_table(), "application/json")


@router.get("/healthz")
async def show_health(site: AtSite) -> dict[str, Any]:
    """Whether the database answers and the live stream runs."""
    if not site.hub.is_alive:
        raise HTTPException(503, "the live stream has stopped: restart this process")
    return {"status": "ok", "revision": await site.store.revisions.newest()}


@router.get("/metrics", include_in_schema=False)
async def show_metrics() -> Response:
    """Prometheus metrics of this process and of those that it shares files with."""
    body, content_type = telemetry.render_metrics()
    return Response(body, headers={"Content-Type": content_type})


def policy(tile_url: str) -> str:
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
