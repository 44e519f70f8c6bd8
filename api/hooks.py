"""The endpoints of hooks: a request becomes an event, a function answers it, and the caller reads the result."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import HTTPException

from api import schemas
from api.gateway import WAIT_MAX_S, HookGateway, requests_total
from api.openapi import answers
from api.site import AsCaller, AtSite, Site
from functions.broker import BrokerError, TooLarge, Unroutable
from functions.event import HttpRequest, new_id, utc_now
from functions.hook import Hook
from store import records
from web import guard
from web.answers import Json, body_in_time
from web.keys import Caller, digest_of

log = structlog.get_logger()
router = APIRouter(tags=["hooks"])

HookName = Annotated[str, Path(max_length=64, description="The last part of the function's `@on.http` path.")]
RequestId = Annotated[str, Path(max_length=64, description="As the answer to the request says.")]
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6}(?:\.\d{1,6})?)\"?\s*(?:$|[,;])", re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PRIVATE = {"Cache-Control": "no-store"}


@router.post(
    "/hooks/{name}",
    response_class=Json,
    response_model=schemas.HookResult,
    responses={
        202: {"model": schemas.HookResult, "description": "Taken; its result will be at `Location`."},
        502: {"model": schemas.HookResult, "description": "The function failed; `reason` says why."},
        **answers(401, 403, 404, 413, 415, 422, 429, 503),
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"title": "HookBody"}}}}
    },
)
async def call_hook(site: AtSite, request: Request, name: HookName, caller: AsCaller) -> Response:
    """Call a function. `Prefer: wait=5` has the answer wait that long for its result (30 s at most).

    A repeat with the same `Idempotency-Key` is the same request: its function is not called again.
    """
    gateway = site.gateway
    hook = _find(gateway, name)
    _admit(hook, caller)
    client = f"key {caller.name}" if caller.name else guard.client_of(request.scope, request.headers, site)
    if wait_s := gateway.take(hook, client):
        requests_total.labels(hook.name, "refused").inc()
        seconds = math.ceil(wait_s)
        raise HTTPException(
            429, f"too many requests to {hook.path}: try again in {seconds} s", {"Retry-After": str(seconds)}
        )
    media = _media_type(request, hook)
    body = await _read(request, hook)
    if media == "application/json" or media.endswith("+json"):
        _check_json(body)
    event = HttpRequest(
        id=new_id(),
        type=hook.type,
        hook=hook.name,
        received_at=utc_now(),
        body=body,
        content_type=media,
        caller=caller.name,
        query=dict(request.query_params),
    )
    kept = await _accept(site, event, _once(request, hook, client))
    wait_s = _wait_of(request)
    if wait_s and not kept.is_answered and not gateway.is_full:
        kept = await gateway.wait(kept.id, wait_s) or kept
    requests_total.labels(hook.name, kept.state).inc()
    return _answer(site, kept, failed=502, waited=wait_s)


@router.get(
    "/hooks/{name}/results/{request_id}",
    response_class=Json,
    response_model=schemas.HookResult,
    responses={
        202: {"model": schemas.HookResult, "description": "Not answered yet: ask again."},
        **answers(401, 403, 404, 422, 429, 503),
    },
)
async def show_result(
    site: AtSite, request: Request, name: HookName, request_id: RequestId, caller: AsCaller
) -> Response:
    """What became of a request; `Prefer: wait=5` waits for it. One that was sent with a key is read with that key."""
    hook = _find(site.gateway, name)
    _admit(hook, caller)
    found = await site.store.requests.get(request_id)
    is_theirs = found is not None and (found.caller in ("", caller.name) or caller.role == "operator")
    if found is None or found.hook != hook.name or not is_theirs:
        hours = site.gateway.keep.total_seconds() / 3600
        raise HTTPException(404, f"there is no such request of yours: results are kept for {hours:g} hours")
    wait_s = _wait_of(request)
    if wait_s and not found.is_answered and not site.gateway.is_full:
        found = await site.gateway.wait(found.id, wait_s) or found
    return _answer(site, found, failed=200, waited=wait_s)


def _find(gateway: HookGateway, name: str) -> Hook:
    hook = gateway.find(name)
    if hook is None:
        raise HTTPException(404, f"there is no hook {name[:64]!r}: no function here declares @on.http of it")
    return hook


def _admit(hook: Hook, caller: Caller) -> None:
    if hook.access == "open":
        return
    if caller.role is None:
        whose = "an operator's key" if hook.access == "operator" else "a key"
        detail = f"{hook.path} takes {whose}: send Authorization: Bearer KEY"
        raise HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="bongsu"'})
    if hook.access == "operator" and caller.role != "operator":
        raise HTTPException(403, f"key {caller.name!r} may only read: {hook.path} takes an operator's key")


def _media_type(request: Request, hook: Hook) -> str:
    given = request.headers.get("content-type", "")
    media = given.partition(";")[0].strip().lower()
    if media not in hook.content_types:
        requests_total.labels(hook.name, "refused").inc()
        raise HTTPException(415, f"Content-Type must be {' or '.join(hook.content_types)}, got {given[:80]!r}")
    return media


async def _read(request: Request, hook: Hook) -> bytes:
    said = request.headers.get("content-length", "")
    is_long = said.isdecimal() and len(said) < 16 and int(said) > hook.body_max
    body = bytearray()
    if not is_long:
        async with body_in_time():
            async for part in request.stream():
                body += part
                if len(body) > hook.body_max:
                    is_long = True
                    break
    if is_long:
        requests_total.labels(hook.name, "refused").inc()
        raise HTTPException(413, f"the body must have at most {hook.body_max} bytes: shorten it")
    return bytes(body)


def _check_json(body: bytes) -> None:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HTTPException(422, f"the body must be JSON: {error}") from error


def _once(request: Request, hook: Hook, client: str) -> str | None:
    """Digest of what makes a repeat the same request; of somebody else's key it is another's."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    key = given.strip().removeprefix('"').removesuffix('"')
    if not _KEY.fullmatch(key):
        raise HTTPException(422, f"Idempotency-Key must be 1 to 255 characters without spaces, got {given[:80]!r}")
    return digest_of("\n".join((hook.name, client, key)))


async def _accept(site: Site, event: HttpRequest, once: str | None) -> records.Request:
    """Keep and publish a request; a repeat is looked up, and published only where the first may not have been.

    Raises:
        HTTPException: 413, 422 or 503.
    """
    said = hashlib.sha256(msgspec.msgpack.encode((event.content_type, sorted(event.query.items()), event.body)))
    new = records.Request(
        id=event.id,
        hook=event.hook,
        caller=event.caller or "",
        body_digest=said.hexdigest(),
        state="new",
        received_at=event.received_at,
        expires_at=event.received_at + site.gateway.keep,
    )
    kept = await site.store.requests.accept(new, once)
    if kept.body_digest != new.body_digest:
        raise HTTPException(422, "this Idempotency-Key was sent with another body: choose another key")
    if kept.state != "new":
        return kept
    try:
        await site.gateway.publish(msgspec.structs.replace(event, id=kept.id, received_at=kept.received_at))
    except TooLarge as error:
        raise HTTPException(413, "the broker takes no body of this size: shorten it") from error
    except Unroutable as error:
        log.warning("hook_unread", hook=event.hook, reason=str(error))
        raise HTTPException(503, f"the function of {event.hook!r} is not deployed: try again later") from error
    except BrokerError as error:
        log.warning("request_failed", hook=event.hook, reason=str(error))
        detail = "the broker is not available: try again, with the same Idempotency-Key"
        raise HTTPException(503, detail, {"Retry-After": "5"}) from error
    await site.store.requests.published(kept.id)
    log.info("hook_called", hook=event.hook, event_id=kept.id, by=event.caller)
    return replace(kept, state="waiting")


def _wait_of(request: Request) -> float:
    """Seconds that the client asks us to wait (RFC 7240), `WAIT_MAX_S` at most; 0 where it does not."""
    found = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(float(found[1]), WAIT_MAX_S) if found else 0.0


def _answer(site: Site, kept: records.Request, *, failed: int, waited: float) -> Response:
    address = f"{site.prefix}/hooks/{kept.hook}/results/{kept.id}"
    shown: dict[str, Any] = {
        "id": kept.id,
        "hook": kept.hook,
        "state": kept.state if kept.is_answered else "waiting",
        "received_at": _moment(kept.received_at),
        "answered_at": None if kept.answered_at is None else _moment(kept.answered_at),
        "expires_at": _moment(kept.expires_at),
        "result": msgspec.Raw((kept.result or "null").encode()),
        "reason": kept.reason,
        "url": address,
    }
    headers = {**_PRIVATE, "Location": address}
    if waited:
        headers["Preference-Applied"] = f"wait={waited:g}"
    if not kept.is_answered:
        headers["Retry-After"] = "1"
    status = {"done": 200, "failed": failed}.get(kept.state, 202)
    return Json(msgspec.json.encode(shown), status, headers)


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
