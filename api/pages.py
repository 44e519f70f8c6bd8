"""The endpoints of the page, its security headers, and health checks."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import html
import json
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import schemas, views
from api.openapi import answers
from api.site import AtSite, Site
from functions import catalogue
from web.answers import answer_json, answer_text

PAGE = Path(__file__).with_name("page")
CLIP = "/clip.mp4"
_FRESH = {"Cache-Control": "no-cache"}
_KEPT = {".js", ".css", ".svg", ".png", ".geojson"}
"""What the page needs without a network."""
router = APIRouter(tags=["process"])


@router.get("/", include_in_schema=False)
@router.get("/feed", include_in_schema=False)
@router.get("/drive", include_in_schema=False)
@router.get("/sessions", include_in_schema=False)
@router.get("/nodes", include_in_schema=False)
async def show_page(site: AtSite) -> Response:
    """The page: map, feed, pipeline, nodes and sessions."""
    return filled_page("index.html", site)


def filled_page(name: str, site: Site) -> Response:
    """A page with the addresses of the settings written into it.

    Raises:
        HTTPException: 404, it is not installed.
    """
    try:
        page = (PAGE / name).read_text("utf-8")
    except OSError as error:
        raise HTTPException(404, "the page is not installed: reinstall bongsu with its package data") from error
    tiles, by = html.escape(site.settings.tile_url), html.escape(site.settings.tile_attribution)
    empty, filled = 'name="bongsu-tiles" content=""', f'name="bongsu-tiles" content="{tiles}"'
    page = page.replace(f'{empty} data-attribution=""', f'{filled} data-attribution="{by}"')
    sessions, clip = html.escape(site.settings.sessions_url.rstrip("/")), CLIP if site.settings.sessions_clip else ""
    empty, filled = 'name="bongsu-sessions" content=""', f'name="bongsu-sessions" content="{sessions}"'
    page = page.replace(f'{empty} data-clip=""', f'{filled} data-clip="{clip}"')
    if site.fleet.is_there:
        page = page.replace('name="bongsu-fleet" content=""', 'name="bongsu-fleet" content="here"')
    offered = 'name="bongsu-languages" content="'
    page = page.replace(f'{offered}en,ko"', f'{offered}{",".join(site.settings.language_codes)}"')
    return HTMLResponse(page, headers={"Cache-Control": "no-cache"})


@router.get("/words/{language}.ftl", include_in_schema=False)
async def show_words(site: AtSite, request: Request, language: str) -> Response:
    """The words of a language, for the page."""
    path = catalogue.path_of(language)
    if path is None:
        raise HTTPException(404, f"there are no words in {language[:40]!r}: use {', '.join(catalogue.languages())}")
    return answer_text(request, site, path.read_bytes(), "text/plain; charset=utf-8")


@router.get("/manifest.webmanifest", include_in_schema=False)
async def show_manifest() -> Response:
    """What the page is called and looks like where it is installed as an app."""
    return FileResponse(PAGE / "manifest.webmanifest", media_type="application/manifest+json", headers=_FRESH)


@router.get("/sw.js", include_in_schema=False)
async def show_worker() -> Response:
    """The service worker with the names of the page's files, from the page's own path, which becomes its scope."""
    return Response(await asyncio.to_thread(_worker), media_type="text/javascript", headers=_FRESH)


@functools.cache
def _worker() -> str:
    files = sorted(path for path in PAGE.rglob("*") if path.suffix in _KEPT)
    digest = hashlib.sha256()
    words = [path for language in catalogue.languages() if (path := catalogue.path_of(language)) is not None]
    for path in (*files, *words, PAGE / "index.html", PAGE / "sw.js"):
        digest.update(path.read_bytes())
    kept = [f"static/{path.relative_to(PAGE)}" for path in files if path.name != "sw.js"]
    names = json.dumps(kept + [f"words/{path.name}" for path in words])
    text = (PAGE / "sw.js").read_text("utf-8")
    version = digest.hexdigest()[:12]
    return text.replace("const FILES = [];", f"const FILES = {names};").replace(
        'VERSION = "0"', f'VERSION = "{version}"'
    )


@router.get(CLIP, include_in_schema=False)
async def show_clip(site: AtSite) -> Response:
    """The video for trying a session, with range requests."""
    clip = Path(site.settings.sessions_clip)
    if not site.settings.sessions_clip or not await asyncio.to_thread(clip.is_file):
        raise HTTPException(404, "there is no clip here: name one with BONGSU_SESSIONS_CLIP")
    return FileResponse(clip, media_type="video/mp4")


@router.get("/hazards.json", response_model=schemas.Hazards, responses=answers(200, 304))
async def show_hazards(site: AtSite, request: Request) -> Response:
    """All hazards: their names, colours, shapes and glyphs, in the page's order."""
    return answer_json(request, site, views.hazard_table(site.settings.language_codes), "application/json")


@router.get("/healthz", response_model=schemas.Health, responses=answers(503))
async def show_health(site: AtSite) -> Response:
    """Whether the database answers and the live stream runs."""
    if not site.hub.is_alive:
        raise HTTPException(503, "the live stream has stopped: restart this process")
    content: schemas.Health = {"status": "ok", "revision": await site.store.revisions.newest()}
    return JSONResponse(content)


@router.get("/livez", include_in_schema=False)
async def show_life() -> dict[str, str]:
    """Whether this process answers at all, whatever the database does; if not, it must be restarted."""
    return {"status": "ok"}


def policy(tile_url: str, sessions_url: str = "", *, has_clips: bool = False, has_public_clips: bool = False) -> str:
    """Content-Security-Policy of the page.

    It allows its own files (public clips and the video for trying a session are some), and, if configured, pictures
    from the tile server, connections to the receive server of sessions, and clips that the page has opened itself.
    """
    # Leaflet's `{s}` is a subdomain, in the policy `*`.
    tiles = f" {_origin(tile_url).replace('{s}', '*')}" if tile_url else ""
    # HTTP for the list, WebSocket for a session: for the policy these are two origins.
    sessions = f" {_origin(sessions_url)} ws{_origin(sessions_url).removeprefix('http')}" if sessions_url else ""
    videos = [
        source for source, is_used in (("'self'", sessions_url or has_public_clips), ("blob:", has_clips)) if is_used
    ]
    media = f"media-src {' '.join(videos)}; " if videos else ""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{sessions}; font-src 'self'; "
        f"{media}img-src 'self'{tiles}; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class SecureHeaders:
    """Adds security headers to every answer. Plain ASGI, so that a stream passes through unbuffered."""

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
