"""What a site says about its cameras: `cameras.yaml`, read and checked here for the worker and `bongsu cameras`."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from functions import event
from functions.event import Hazard

ANY = "any"
"""The `node` of a camera that has none of its own."""
SENSITIVITIES = {"low": 0.2, "medium": 0.5, "high": 0.8}
"""Named sensitivities. On a 320x180 look they need 132, 58 and 25 px of motion that differ by 29, 22 and 15 levels."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# User and password, a host or an IPv6 address in brackets, a port.
_AUTHORITY = re.compile(r"(?:[^/?#\s]*@)?(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=[/?#]|$)")
_WEBCAM = re.compile(r"(?:webcam:)?(\d{1,3})")


# How pydantic calls what is no list, no mapping, or has keys too many or too few.
_MISSHAPEN = ("tuple_type", "model_type", "dict_type", "string_type", "missing", "extra_forbidden")


class ConfigError(ValueError):
    """`cameras.yaml` cannot be used; one line that names the place, the value and the fix, and never a URL."""


def _named_sensitivity(value: object) -> object:
    if isinstance(value, str):
        if value not in SENSITIVITIES:
            raise ValueError(f"must be low, medium, high or a number from 0 to 1, got {_shown(value)}")
        return SENSITIVITIES[value]
    return value


def _camera_id(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"must be text, got {_shown(value)}: write it in quotes")
    if not _ID.fullmatch(value):
        raise ValueError(f"must be 1 to 64 letters, digits, '-', '_' or '.', got {_shown(value)}")
    return value


def _camera_url(value: object) -> object:
    """Accepts what a camera can be opened by; says nothing of the URL but its scheme, for it may hold a password."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError("must be rtsp://…, rtsps://…, a file or webcam:0")
    text = text.strip()
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() not in ("rtsp", "rtsps"):
        raise ValueError(f"must start with rtsp:// or rtsps://, or be a file or webcam:0, got '{scheme[1]}://…'")
    if scheme is not None and not _AUTHORITY.match(text, scheme.end()):
        # What stands there is not shown: where a password is not encoded, a part of it is taken for the host.
        raise ValueError(
            "must name a host, and perhaps a port, like 192.0.2.10:554 or [2001:db8::7]; "
            "in a user or password write / as %2F, ? as %3F, # as %23 and @ as %40"
        )
    if scheme is not None:
        text = scheme[1].lower() + text[scheme.end(1) :]  # FFmpeg knows it in lower case only
    if text.startswith("webcam:") and not _WEBCAM.fullmatch(text):
        raise ValueError("must be webcam: and the number of the camera, as in webcam:0")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError(f"must be a name on one line, got {_shown(text)}")
    return text.strip()


def _both_names(value: object) -> object:
    """One name for both languages may be written without naming them."""
    return {"en": value, "ko": value} if isinstance(value, str) else value


Ratio = Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)]
Polygon = Annotated[tuple[tuple[Ratio, Ratio], ...], Field(min_length=3, max_length=64)]
Masks = tuple[Annotated[tuple[tuple[Ratio, Ratio], ...], Field(min_length=3)], ...]
ZoneText = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_one_line)]
Thresholds = dict[Hazard, Ratio]
Sensitivity = Annotated[Ratio, BeforeValidator(_named_sensitivity)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Model):
    """Where a camera stands, as it is told to the public."""

    lat: Annotated[float, Field(ge=-90, le=90, strict=True, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, strict=True, allow_inf_nan=False)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    region: Annotated[str, Field(max_length=100)] = ""

    @property
    def wire(self) -> event.Place:
        """The same place as it travels in an event."""
        return event.Place(self.lat, self.lon, self.name, self.region)


class ZoneName(_Model):
    """What people call a zone, as it follows "near" in English and goes before "부근" in Korean."""

    en: ZoneText
    ko: ZoneText


class Zone(_Model):
    """A part of the picture that captions may name."""

    name: Annotated[ZoneName, BeforeValidator(_both_names)]
    polygon: Polygon

    @property
    def wire(self) -> event.Zone:
        """The same zone as it travels in an event."""
        return event.Zone(event.Caption(en=self.name.en, ko=self.name.ko), self.polygon)


class Burst(_Model):
    """What is taken when something moves."""

    frames: Annotated[int, Field(ge=1, le=16, strict=True)] = 4
    spacing_s: Annotated[float, Field(ge=0.05, le=2, strict=True)] = 0.25
    """Seconds from one frame of a burst to the next."""
    interval_s: Annotated[float, Field(ge=0.5, le=3600, strict=True)] = 2.0
    """While motion lasts, seconds from the start of one burst to the start of the next."""
    max_per_minute: Annotated[int, Field(ge=1, le=120, strict=True)] = 30

    @model_validator(mode="after")
    def _fits(self) -> Self:
        lasts_s = (self.frames - 1) * self.spacing_s
        if lasts_s > 10:
            raise ValueError(f"{self.frames} frames {self.spacing_s} s apart last {lasts_s:g} s: keep a burst to 10 s")
        return self


class Jpeg(_Model):
    """How the frames of a burst are stored."""

    width: Annotated[int, Field(ge=64, le=3840, strict=True)] = 1280
    """Widest a frame may be, in pixels; a bigger picture is scaled down, a smaller one kept."""
    quality: Annotated[int, Field(ge=30, le=100, strict=True)] = 82


class Defaults(_Model):
    """What holds for every camera that says nothing else."""

    node: Annotated[str, Field(min_length=1, max_length=253)] = ANY
    """Name of the edge node that reads the camera, compared with BONGSU_NODE; `any`: see `motion/sharing.py`."""
    masks: Masks = ()
    """Polygons of [x, y] in fractions of the frame, inside which motion is not looked at."""
    sensitivity: Sensitivity = SENSITIVITIES["medium"]
    thresholds: Thresholds = {}
    """Minimum confidence by hazard, over the detector's own."""
    burst: Burst = Burst()
    jpeg: Jpeg = Jpeg()


class Camera(Defaults):
    """One camera."""

    id: Annotated[str, BeforeValidator(_camera_id)]
    url: Annotated[SecretStr, BeforeValidator(_camera_url)]
    place: Place
    zones: Annotated[tuple[Zone, ...], Field(max_length=16)] = ()
    """Named parts of the picture; where two overlap, the first is told."""


class Cameras(_Model):
    """All cameras of a site, in the order of the file."""

    cameras: tuple[Camera, ...]

    def of_node(self, node: str | None) -> tuple[Camera, ...]:
        """The cameras that a worker on this node reads while it knows of no other: all of them if it has no name."""
        return tuple(c for c in self.cameras if not node or c.node in (ANY, node))


def cameras_path() -> Path:
    """The file that the environment names (BONGSU_CAMERAS), or cameras.yaml here."""
    return Path(os.environ.get("BONGSU_CAMERAS") or "cameras.yaml")


def load_cameras(path: Path | str) -> Cameras:
    """Read and check a file of cameras. A relative path of a camera is relative to that file.

    Raises:
        ConfigError: not there, not YAML, or some value cannot be used.
    """
    path = Path(path)
    document = _read(path)
    if not isinstance(document, dict) or not isinstance(document.get("cameras"), list):
        raise ConfigError(f"{path}: must hold a list 'cameras:', as cameras.example.yaml does")
    for key in document:
        if key not in ("cameras", "defaults"):
            raise ConfigError(f"{path}: {_unknown(str(key), ['cameras', 'defaults'])}")
    defaults = document.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise ConfigError(f"{path}: defaults: must be a mapping, got {_shown(defaults)}")
    _checked(Defaults, defaults, f"{path}: defaults", {})
    found: list[Camera] = []
    for number, entry in enumerate(document["cameras"], 1):
        camera = _camera(path, number, entry, defaults)
        if any(camera.id == other.id for other in found):
            raise ConfigError(f"{path}: camera {camera.id!r} is there twice: give each its own id")
        found.append(camera)
    return Cameras(cameras=tuple(found))


def _camera(path: Path, number: int, entry: object, defaults: dict[Any, Any]) -> Camera:
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}: camera number {number} must be a mapping with id, url and place")
    given_id = entry.get("id")
    where = f"{path}: camera {_shown(given_id)}" if given_id is not None else f"{path}: camera number {number}"
    merged = _merge(defaults, entry)
    if isinstance(merged.get("url"), str):
        merged["url"] = _located(_expand(merged["url"], where), path.parent, where)
    camera = _checked(Camera, merged, where, merged)
    assert isinstance(camera, Camera)
    return camera


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: copy cameras.example.yaml, or name yours in BONGSU_CAMERAS") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text: save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        # Only the place is told: the text around it may be a URL.
        mark = error.problem_mark
        at = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{path}: is not YAML{at}: {_calm(error.problem)}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        # PyYAML's own constructors fall over values that do not fit their tag, as `!!bool maybe`.
        raise ConfigError(f"{path}: is not YAML: it holds characters or nesting that YAML does not allow") from None


def _calm(problem: str | None) -> str:
    text = " ".join((problem or "cannot be parsed").split())
    return "something is in the wrong place" if "://" in text else text


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be a word; text in braces, as in {{ name }}, needs quotes or filling in"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _merge(defaults: dict[Any, Any], entry: dict[Any, Any]) -> dict[Any, Any]:
    merged = {**defaults, **entry}
    for key in ("burst", "jpeg", "thresholds"):
        if isinstance(defaults.get(key), dict) and isinstance(entry.get(key), dict):
            merged[key] = {**defaults[key], **entry[key]}
    return merged


def _expand(url: str, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not os.environ.get(name):
            raise ConfigError(f"{where}: url: ${{{name}}} is not set: export {name} before starting")
        return os.environ[name]

    expanded = _VARIABLE.sub(value, url)
    if "${" in _VARIABLE.sub("", url):
        raise ConfigError(f"{where}: url: a variable must be written ${{NAME}}, with letters, digits and _")
    return expanded


def _located(url: str, folder: Path, where: str) -> str:
    if _SCHEME.match(url) or url.startswith("webcam:") or _WEBCAM.fullmatch(url.strip()) or not url.strip():
        return url
    try:
        return str(folder / Path(url).expanduser())
    except RuntimeError:
        raise ConfigError(f"{where}: url: ~ names no home here: write the whole path of the file") from None


def _checked(model: type[BaseModel], data: dict[Any, Any], where: str, shown: object) -> BaseModel:
    try:
        return model.model_validate({str(key): value for key, value in data.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)
        unknown = [e for e in first if e["type"] == "extra_forbidden"]
        raise ConfigError(f"{where}: {_line(model, (unknown or first)[0])}") from None


def _line(model: type[BaseModel], error: Any) -> str:
    """One error of pydantic in our words: `burst.frames: must be at most 16, got 99`."""
    loc: tuple[int | str, ...] = error["loc"]
    parts = [part for part in loc if part != "[key]"]
    path = ".".join(f"{part}" for part in parts)
    if shape := _shape(parts, error):
        return f"{path}: must be {shape}, got {_given(error)}"
    if error["type"] == "extra_forbidden":
        return _unknown(path, _keys(model, parts[:-1]))
    if error["type"] == "missing":
        return f"{path} is missing: add '{parts[-1]}:'"
    if error["type"] == "literal_error" and loc[-1] == "[key]":
        return _unknown(path, list(event.HAZARDS))
    message = str(error["msg"])
    message = re.sub(r"^Value error, ", "", message)
    message = re.sub(r"^(Input|Tuple|Dictionary|List|String|Value) should ", "must ", message)
    message = message[0].lower() + message[1:]
    path = f"{path}: " if path else ""
    if "url" in parts or ", got " in message or error["type"] == "value_error":
        return f"{path}{message}"
    return f"{path}{message}, got {_shown(error['input'])}"


def _shape(parts: list[int | str], error: Any) -> str:
    """What masks and zones must look like, where their shape is what is wrong."""
    if parts and parts[0] == "zones" and "polygon" not in parts and error["type"] in _MISSHAPEN:
        return "as in zones: [{name: {en: …, ko: …}, polygon: [[x, y], …]}]"
    if parts and (parts[0] == "masks" or "polygon" in parts):
        return "polygons of 3 or more [x, y], each from 0 to 1 of the frame"
    return ""


def _given(error: Any) -> str:
    if error["type"] == "missing":
        return "nothing"
    return "an unknown key" if error["type"] == "extra_forbidden" else _shown(error["input"])


def _shown(value: object) -> str:
    """A value as an error may show it: short, and of a URL that strayed into another key only the scheme."""
    scheme = _SCHEME.search(str(value))
    return f"'{scheme[1]}://…'" if scheme else f"{value!r:.60}"


def _keys(model: type[BaseModel], path: list[int | str]) -> list[str]:
    for part in path:
        kind = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


def _unknown(path: str, known: list[str]) -> str:
    key = path.rpartition(".")[2]
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown key {_shown(path)}: {hint}"
