"""The page on which an operator adds cameras and draws their masks, on one machine; `bongsu run` switches it on.

Only `motion/` opens a camera and may not be imported here: each request runs a process of it, whose answer passes
through one of `detect/`, which finds people, and one of `privacy/`, which covers them, on its way here. Where no file
of cameras is named (on a cluster it is a ConfigMap), the page shows the entry to paste.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from typing import Any

import msgspec
import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from msgspec import Struct

from api.incidents import AsOperator
from api.pages import filled_page
from api.site import AtSite, Site
from web.answers import read_body

log = structlog.get_logger()
router = APIRouter(include_in_schema=False)

_LIMIT_S = 90.0
_AT_ONCE = asyncio.Semaphore(2)  # a picture takes a network, and a machine has few cores
_CHAIN = ("motion.setup.page", "detect.preview", "privacy.preview")  # opens the camera, finds people, covers them
_PRIVATE = {"Cache-Control": "no-store"}


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """A camera as the page has it; motion checks every value."""

    camera: str = ""
    url: str = ""
    user: str = ""
    password: str = ""
    place: dict[str, Any] | None = None
    masks: list[Any] | None = None
    zones: list[Any] | None = None
    sensitivity: float | None = None
    seconds: float = 20.0


@router.get("/cameras")
async def show_setup(site: AtSite) -> Response:
    """The page; it shows nothing before an operator has signed in."""
    return filled_page("cameras.html", site)


@router.get("/api/setup/cameras")
async def list_cameras(site: AtSite, caller: AsOperator) -> Response:
    """The cameras of the file, and which file it is; null on a cluster."""
    if not site.settings.cameras_file:
        return JSONResponse({"file": None, "cameras": []}, headers=_PRIVATE)
    return JSONResponse(await _ask_motion(site, {"do": "list"}), headers=_PRIVATE)


@router.post("/api/setup/look")
async def look(site: AtSite, request: Request, caller: AsOperator) -> Response:
    """What a camera is, and its redacted picture."""
    return await _answered(site, request, "look")


@router.post("/api/setup/tune")
async def tune(site: AtSite, request: Request, caller: AsOperator) -> Response:
    """What the gate of a camera reports and leaves out, with a redacted picture of each."""
    return await _answered(site, request, "tune")


@router.post("/api/setup/save")
async def save(site: AtSite, request: Request, caller: AsOperator) -> Response:
    """Write a camera to the file; motion takes it up by itself."""
    answer = await _answered(site, request, "save")
    log.info("camera_saved", by=caller.name)
    return answer


async def _answered(site: Site, request: Request, do: str) -> Response:
    asked = await read_body(request, Asked, '{"camera": "gate-1", "url": "rtsp://192.0.2.10/stream"}')
    if not site.settings.cameras_file:
        raise HTTPException(404, "there is no file of cameras here: on a cluster cameras.yaml is a ConfigMap")
    found = await _ask_motion(site, {"do": do, **msgspec.to_builtins(asked)})
    return JSONResponse(found, headers=_PRIVATE)


async def _ask_motion(site: Site, request: dict[str, Any]) -> dict[str, Any]:
    """What motion answers, its pictures redacted and in base64, None for those withheld.

    Raises:
        HTTPException: 422, it cannot be done; 503, no answer came.
    """
    # Short-lived processes have no part in the metrics that the services share.
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    environment["BONGSU_CAMERAS"] = site.settings.cameras_file
    async with _AT_ONCE:
        out = await _run_chain(msgspec.json.encode(request), environment)
    found: dict[str, Any] = msgspec.msgpack.decode(out)
    if "error" in found:
        raise HTTPException(422, found["error"])
    pictures: list[bytes | None] = found["pictures"]
    return {**found, "pictures": [None if each is None else base64.b64encode(each).decode() for each in pictures]}


async def _run_chain(request: bytes, environment: dict[str, str]) -> bytes:
    """Run the processes of the rooms, each into the next; a picture that is not redacted never enters this one."""
    started: list[asyncio.subprocess.Process] = []
    taking: int = asyncio.subprocess.PIPE
    try:
        for module in _CHAIN:
            is_last = module == _CHAIN[-1]
            following, giving = (asyncio.subprocess.PIPE, asyncio.subprocess.PIPE) if is_last else os.pipe()
            try:
                started.append(await _start(module, environment, taking, giving))
            finally:
                for end in (taking, giving):
                    if end != asyncio.subprocess.PIPE:
                        os.close(end)
                taking = following
        async with asyncio.timeout(_LIMIT_S):
            ends = await asyncio.gather(*(p.communicate(None if i else request) for i, p in enumerate(started)))
    except TimeoutError:
        raise HTTPException(503, f"no answer for {_LIMIT_S:g} s: try again") from None
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()
    out: bytes = ends[-1][0]
    if not out:
        said = b"".join(complaint for _, complaint in ends).decode(errors="replace")
        log.error("camera_setup_failed", said=said[-500:])
        raise HTTPException(503, "the camera could not be looked at: the log of the API says why")
    return out


async def _start(module: str, environment: dict[str, str], stdin: int, stdout: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE, env=environment
    )
