"""The entry of a camera in `cameras.yaml`: its fields, each validated when it is read."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from functions import catalogue, event
from functions.event import Hazard
from motion.problems import SCHEME, shown

ANY = "any"
"""The `node` of a camera that any node may read."""
SENSITIVITIES = {"low": 0.2, "medium": 0.5, "high": 0.8}
"""Named sensitivities; docs/motion.md has the measured number of false bursts for each."""
WEBCAM = re.compile(r"(?:webcam:)?(\d{1,3})")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# User and password, a host or an IPv6 address in brackets, a port.
_AUTHORITY = re.compile(r"(?:[^/?#\s]*@)?(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=[/?#]|$)")


def _named_sensitivity(value: object) -> object:
    if isinstance(value, str):
        if value not in SENSITIVITIES:
            raise ValueError(f"must be low, medium, high or a number from 0 to 1, got {shown(value)}")
        return SENSITIVITIES[value]
    return value


def _camera_id(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"must be text, got {shown(value)}: write it in quotes")
    if not _ID.fullmatch(value):
        raise ValueError(f"must be 1 to 64 letters, digits, '-', '_' or '.', got {shown(value)}")
    return value


def _camera_url(value: object) -> object:
    """Checks a camera's URL; messages show only its scheme, because it may contain a password."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError("must be rtsp://…, rtsps://…, a file or webcam:0")
    text = text.strip()
    scheme = SCHEME.match(text)
    if scheme is not None and scheme[1].lower() not in ("rtsp", "rtsps"):
        raise ValueError(f"must start with rtsp:// or rtsps://, or be a file or webcam:0, got '{scheme[1]}://…'")
    if scheme is not None:
        text = scheme[1].lower() + text[scheme.end(1) :]  # FFmpeg accepts only lower case
    if scheme is not None and (problem := _unencoded(text)):
        raise ValueError(problem)
    if scheme is not None and not _AUTHORITY.match(text, scheme.end()):
        # It is not shown: if a password is not encoded, part of it is where the host should be.
        raise ValueError("must name a host, and perhaps a port, like 192.0.2.10:554 or [2001:db8::7]")
    if text.startswith("webcam:") and not WEBCAM.fullmatch(text):
        raise ValueError("must be webcam: and the number of the camera, as in webcam:0")
    return text


def _unencoded(url: str) -> str:
    """The error for a user name or password that breaks a URL, without showing it."""
    rest = url.partition("://")[2]
    host = min((i for i in map(rest.find, "/?#") if i >= 0), default=len(rest))
    found = rest[host : host + 1]
    if not found or "@" not in rest[host:] or "@" in rest[:host]:
        return ""
    # An @ in the path, as in rtsp://192.0.2.1/a@b, has no port or password before it.
    if ":" not in rest[:host] or rest[:host].rpartition(":")[2].isdecimal():
        return ""
    return f"the user name or password holds {found!r}, which must be written %{ord(found):02X}"


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError(f"must be a name on one line, got {shown(text)}")
    return text.strip()


def _both_names(value: object) -> object:
    """Accepts a plain string as the name in both languages."""
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
    """A camera's place, as shown to the public."""

    lat: Annotated[float, Field(ge=-90, le=90, strict=True, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, strict=True, allow_inf_nan=False)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    region: Annotated[str, Field(max_length=100)] = ""

    @property
    def wire(self) -> event.Place:
        """The same place as an event carries it."""
        return event.Place(self.lat, self.lon, self.name, self.region)


class ZoneName(_Model):
    """A zone's name, as it follows "near" in English and precedes "부근" in Korean; further languages may follow."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ZoneText]

    en: ZoneText
    ko: ZoneText

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := sorted(self.__pydantic_extra__.keys() - set(catalogue.languages())):
            known = ", ".join(catalogue.languages())
            raise ValueError(f"must be in languages of captions, {known}, got {shown(unknown[0])}")
        return self


class Zone(_Model):
    """A part of the picture that captions may name."""

    name: Annotated[ZoneName, BeforeValidator(_both_names)]
    polygon: Polygon

    @property
    def wire(self) -> event.Zone:
        """The same zone as an event carries it."""
        return event.Zone(event.Caption.of(self.name.model_dump()), self.polygon)


class Burst(_Model):
    """The frames to record when something moves."""

    frames: Annotated[int, Field(ge=1, le=16, strict=True)] = 4
    spacing_s: Annotated[float, Field(ge=0.05, le=2, strict=True)] = 0.25
    """Seconds from one frame of a burst to the next."""
    interval_s: Annotated[float, Field(ge=0.5, le=3600, strict=True)] = 2.0
    """While motion lasts, seconds from the start of one burst to the start of the next."""
    max_per_minute: Annotated[int, Field(ge=1, le=120, strict=True)] = 30
    scene_interval_s: Annotated[float, Field(ge=0, le=86400, strict=True)] = 300.0
    """Seconds from one burst of the quiet scene to the next, for hazards that grow too slowly to move; 0: none."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        lasts_s = (self.frames - 1) * self.spacing_s
        if lasts_s > 10:
            raise ValueError(f"{self.frames} frames {self.spacing_s} s apart last {lasts_s:g} s: keep a burst to 10 s")
        return self


class Jpeg(_Model):
    """How the frames of a burst are stored."""

    width: Annotated[int, Field(ge=64, le=3840, strict=True)] = 1280
    """Maximum width in pixels; a larger picture is scaled down, a smaller one is kept."""
    quality: Annotated[int, Field(ge=30, le=100, strict=True)] = 82


class Defaults(_Model):
    """Values for every camera that does not set its own."""

    node: Annotated[str, Field(min_length=1, max_length=253)] = ANY
    """Name of the edge node that reads the camera, compared with BONGSU_NODE; for `any` see `motion/sharing.py`."""
    masks: Masks = ()
    """Polygons of [x, y] in fractions of the frame, inside which motion is ignored."""
    sensitivity: Sensitivity = SENSITIVITIES["medium"]
    thresholds: Thresholds = {}
    """Minimum confidence by hazard; overrides the detector's defaults."""
    burst: Burst = Burst()
    jpeg: Jpeg = Jpeg()
    max_latency_s: Annotated[float, Field(ge=0, le=30, strict=True)] = 4.0
    """A camera whose key frames are farther apart is decoded all the time, not only when something moves."""
    hardware_decoding: Literal["none", "vaapi", "cuda", "qsv"] = "none"
    """The kind of device to decode on; in software where there is none."""
    standing_s: Annotated[float, Field(ge=0, le=3600, strict=True)] = 20.0
    """How long something new that stands still counts as motion; then it is part of the scene."""
    frozen_s: Annotated[float, Field(ge=0, le=86400, strict=True)] = 120.0
    """Seconds without any change, noise included, after which a picture counts as frozen; 0: never."""


class Camera(Defaults):
    """One camera."""

    id: Annotated[str, BeforeValidator(_camera_id)]
    url: Annotated[SecretStr, BeforeValidator(_camera_url)]
    detect_url: Annotated[SecretStr, BeforeValidator(_camera_url)] | None = None
    """A smaller stream of the same camera for motion detection; the pictures come from `url`."""
    place: Place
    zones: Annotated[tuple[Zone, ...], Field(max_length=16)] = ()
    """Named parts of the picture; if two overlap, captions name the first."""


class Cameras(_Model):
    """All cameras of a site, in the order of the file."""

    cameras: tuple[Camera, ...]

    def of_node(self, node: str | None) -> tuple[Camera, ...]:
        """The cameras that a worker on this node reads without knowing other nodes: all if the node has no name."""
        return tuple(c for c in self.cameras if not node or c.node in (ANY, node))
