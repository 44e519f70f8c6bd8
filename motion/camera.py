"""What a camera is to its site: the fields of `cameras.yaml`, each checked as it is read."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from functions import event
from functions.event import Hazard
from motion.problems import SCHEME, shown

ANY = "any"
"""The `node` of a camera that has none of its own."""
SENSITIVITIES = {"low": 0.2, "medium": 0.5, "high": 0.8}
"""Named sensitivities; docs/motion.md has how many false bursts each was measured to bring."""
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
    """Accepts what a camera can be opened by; says nothing of the URL but its scheme, for it may hold a password."""
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
        text = scheme[1].lower() + text[scheme.end(1) :]  # FFmpeg knows it in lower case only
    if scheme is not None and (problem := _unencoded(text)):
        raise ValueError(problem)
    if scheme is not None and not _AUTHORITY.match(text, scheme.end()):
        # It is not shown: where a password is not encoded, a part of it stands where the host should be.
        raise ValueError("must name a host, and perhaps a port, like 192.0.2.10:554 or [2001:db8::7]")
    if text.startswith("webcam:") and not WEBCAM.fullmatch(text):
        raise ValueError("must be webcam: and the number of the camera, as in webcam:0")
    return text


def _unencoded(url: str) -> str:
    """What in the user name or password of a URL breaks it, in words that do not show it."""
    rest = url.partition("://")[2]
    host = min((i for i in map(rest.find, "/?#") if i >= 0), default=len(rest))
    found = rest[host : host + 1]
    if not found or "@" not in rest[host:] or "@" in rest[:host]:
        return ""
    # An @ that belongs to the path, as in rtsp://192.0.2.1/a@b, has no port or password before it.
    if ":" not in rest[:host] or rest[:host].rpartition(":")[2].isdecimal():
        return ""
    return f"the user name or password holds {found!r}, which must be written %{ord(found):02X}"


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError(f"must be a name on one line, got {shown(text)}")
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
    """Where a camera stands, as the public sees it."""

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
    scene_interval_s: Annotated[float, Field(ge=0, le=86400, strict=True)] = 300.0
    """Seconds from one burst of the quiet scene to the next, for what grows too slowly to move; 0 for none."""

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
    max_latency_s: Annotated[float, Field(ge=0, le=30, strict=True)] = 4.0
    """A camera whose key frames are farther apart is decoded all the time, and not only where something moves."""
    frozen_s: Annotated[float, Field(ge=0, le=86400, strict=True)] = 120.0
    """Seconds without the least change, noise included, after which a picture counts as frozen; 0 for never."""


class Camera(Defaults):
    """One camera."""

    id: Annotated[str, BeforeValidator(_camera_id)]
    url: Annotated[SecretStr, BeforeValidator(_camera_url)]
    detect_url: Annotated[SecretStr, BeforeValidator(_camera_url)] | None = None
    """A smaller stream of the same camera, in which motion is looked for; the pictures are those of `url`."""
    place: Place
    zones: Annotated[tuple[Zone, ...], Field(max_length=16)] = ()
    """Named parts of the picture; where two overlap, captions name the first."""


class Cameras(_Model):
    """All cameras of a site, in the order of the file."""

    cameras: tuple[Camera, ...]

    def of_node(self, node: str | None) -> tuple[Camera, ...]:
        """The cameras that a worker on this node reads while it knows of no other: all of them if it has no name."""
        return tuple(c for c in self.cameras if not node or c.node in (ANY, node))
