"""`python -m motion.setup.page`: what the page for cameras asks of this machine, one request for each process.

The request is JSON on stdin, the answer MessagePack on stdout. `api/` starts it and may not import this room, which
alone opens cameras and holds their URLs. Pictures in an answer are as the camera gave them: the API has them pass
through `privacy.preview` on their way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from pydantic import ValidationError

from motion.config import Camera, ConfigError, cameras_path, load_cameras
from motion.edit import CamerasText, EditError
from motion.files import replace_text
from motion.look import GateSettings
from motion.opening import StreamError, is_file
from motion.problems import line
from motion.secrets import SecretsError, add_secrets, read_secrets, secrets_path
from motion.setup.credentials import Vault
from motion.tune import look_on

_WIDTH, _QUALITY = 1280, 82
_SMALL_WIDTH = 480
_MOST_MOMENTS, _SPACING_S = 12, 1.0


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request."""

    do: str
    """`list`, `look`, `tune` or `save`."""
    camera: str = ""
    """Id of the camera; a new one where the file has none of that id."""
    url: str = ""
    """Address of the stream, without login; empty for that of the file."""
    user: str = ""
    password: str = ""
    place: dict[str, Any] | None = None
    masks: list[Any] | None = None
    zones: list[Any] | None = None
    sensitivity: float | None = None
    seconds: float = 20.0


class RequestError(ValueError):
    """It cannot be done; one line without URL or password."""


def answer(request: Request, file: Path) -> dict[str, Any]:
    """What was asked for.

    Raises:
        RequestError: it cannot be done; the message says why.
    """
    known: dict[str, Callable[[Request, Path], dict[str, Any]]] = {
        "list": _list, "look": _look, "tune": _tune, "save": _save,
    }  # fmt: skip
    if request.do not in known:
        raise RequestError(f"do must be one of {', '.join(known)}, got {request.do!r}")
    try:
        return known[request.do](request, file)
    except (ConfigError, EditError, SecretsError, StreamError) as error:
        raise RequestError(str(error)) from None
    except OSError as error:
        raise RequestError(f"{secrets_path(file)}: cannot be written: {error.strerror}") from None


def _list(_: Request, file: Path) -> dict[str, Any]:
    """The cameras with what the page may show of them: of an address the scheme alone."""
    found = load_cameras(file).cameras if CamerasText.read(file).entries else ()
    return {"file": str(file), "cameras": [_shown(camera) for camera in found]}


def _shown(camera: Camera) -> dict[str, Any]:
    given = camera.model_dump(include={"id", "masks", "zones", "sensitivity"}, mode="json")
    place = camera.place.model_dump(mode="json")
    url = camera.url.get_secret_value()
    return {**given, "place": place, "kind": "file" if is_file(url) else url.partition(":")[0]}


def _look(request: Request, file: Path) -> dict[str, Any]:
    from motion.reading import probe

    seen = probe(_source(request, file).url.get_secret_value())
    return {
        "codec": seen.codec, "width": seen.width, "height": seen.height, "fps": seen.fps, "decoding": seen.decoding,
        "pictures": [seen.picture.jpeg(_WIDTH, _QUALITY)],
    }  # fmt: skip


def _tune(request: Request, file: Path) -> dict[str, Any]:
    """Run the gate, and keep a picture of what it reported or left out, at most one a second of each outcome."""
    camera = _source(request, file)
    gate = GateSettings(camera.sensitivity, camera.masks, camera.standing_s)
    url = (camera.detect_url or camera.url).get_secret_value()
    looks, counts, shown, last = 0, dict[str, int](), list[dict[str, Any]](), dict[str, float]()
    pictures: list[bytes] = []
    for moments, picture in look_on(url, gate, min(60.0, max(2.0, request.seconds))):
        looks += 1
        for moment in moments:
            counts[moment.outcome] = counts.get(moment.outcome, 0) + 1
            if len(shown) < _MOST_MOMENTS and moment.at_s - last.get(moment.outcome, -_SPACING_S) >= _SPACING_S:
                last[moment.outcome] = moment.at_s
                box = moment.box
                shown.append({"at_s": moment.at_s, "outcome": moment.outcome, "box": [box.x1, box.y1, box.x2, box.y2]})
                pictures.append(picture.jpeg(_SMALL_WIDTH, _QUALITY))
    return {"looks": looks, "outcomes": counts, "moments": shown, "pictures": pictures}


def _save(request: Request, file: Path) -> dict[str, Any]:
    """Add the camera to the file, or change what was given of one that is there."""
    text, vault = CamerasText.read(file), Vault(read_secrets(secrets_path(file)))
    before = text.text
    _source(request, file)
    fields: dict[str, Any] = {}
    if request.url:
        fields["url"] = vault.with_login(request.url.strip(), request.user, request.password)
    for name in ("place", "sensitivity", "masks", "zones"):
        if (value := getattr(request, name)) is not None:
            fields[name] = value
    if any(str(entry.get("id")) == request.camera for entry in text.entries):
        for name, value in fields.items():
            text.update(request.camera, name, value)
    else:
        text.add({"id": request.camera, **{name: value for name, value in fields.items() if value != []}})
    if vault.new:
        add_secrets(secrets_path(file), vault.new)
    text.save(file)
    try:
        load_cameras(file)
    except ConfigError as error:
        # Motion would go on with the old cameras, and not start with these: neither may a page leave behind.
        replace_text(file, before)
        raise RequestError(str(error)) from None
    return {"saved": request.camera}


def _source(request: Request, file: Path) -> Camera:
    """The camera as the request has it: that of the file, with what was given in place of what stands there."""
    there = {camera.id: camera for camera in (load_cameras(file).cameras if CamerasText.read(file).entries else ())}
    camera = there.get(request.camera)
    given: dict[str, Any] = {} if camera is None else camera.model_dump()
    given.pop("detect_url" if request.url else "", None)
    if request.url:
        given["url"] = _opened_by(request, file)
    elif camera is None:
        raise RequestError("url is missing: give the camera's rtsp:// URL")
    given["id"] = request.camera or "new"
    for name in ("place", "masks", "zones", "sensitivity"):
        if (value := getattr(request, name)) is not None:
            given[name] = value
    if request.do != "save":
        given.setdefault("place", {"lat": 0.0, "lon": 0.0, "name": "new"})
    try:
        return Camera.model_validate(given)
    except ValidationError as error:
        raise RequestError(line(Camera, error.errors(include_url=False)[0])) from None


def _opened_by(request: Request, file: Path) -> str:
    """The URL with the login in it; a file's path is relative to the file of cameras."""
    url = request.url.strip()
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url if url.startswith("webcam:") else str(file.parent / Path(url))
    if not request.user:
        return url
    bare = rest.rpartition("@")[2] if "@" in rest.partition("/")[0] else rest
    password = f":{quote(request.password, safe='')}" if request.password else ""
    return f"{scheme}://{quote(request.user, safe='')}{password}@{bare}"


def main() -> int:
    """Answer one request; the status is 1, and the answer has an `error`, where it cannot be done."""
    try:
        found = answer(msgspec.json.decode(sys.stdin.buffer.read(), type=Request), cameras_path())
    except (RequestError, msgspec.DecodeError) as error:
        found = {"error": str(error)}
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main())
