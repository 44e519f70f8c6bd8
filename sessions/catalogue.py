"""The kinds of session that there are, the models of each, and what a worker of each takes of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.registry import WEIGHTS, recorded

# By their files and not from models/network.py, which brings OpenCV: a worker of rows and the agent need none of it.
# tests/sessions/test_catalogue.py holds the two together.
_HAZARD, _SCENE = WEIGHTS / "hazard4_320.onnx", WEIGHTS / "scene_640.onnx"
_BOX_HAZARD = Path(__file__).parent / "weights/box_hazard.json"


class UnknownModelError(ValueError):
    """There is no such kind or model; the message lists those that there are."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a session is for.

    Attributes:
        takes: what a request holds.
        models: file of each model by its name; the first is the default.
        cores: what a worker is expected to use while it is busy.
        memory_mb: measured resident size of a worker that has answered, with a margin.
    """

    takes: str
    models: Mapping[str, Path]
    cores: float
    memory_mb: float


KINDS: dict[str, Kind] = {
    "scalar": Kind("a row of numbers", {"box-hazard": _BOX_HAZARD}, 0.05, 60.0),
    "image": Kind("a JPEG", {"hazard": _HAZARD}, 0.5, 320.0),
    "object": Kind("a JPEG", {"hazard": _HAZARD, "scene": _SCENE}, 0.5, 260.0),
}


def resolve(kind: str, model: str = "") -> str:
    """The full name of a model, with its version.

    Args:
        kind: of the session.
        model: `name`, `name:version` or empty for the kind's default; the version is the beginning of the sha256 that
            is recorded for the file.

    Raises:
        UnknownModelError: there is no such kind, model or version.
    """
    if kind not in KINDS:
        raise UnknownModelError(f"kind must be one of {', '.join(KINDS)}, got {kind[:80]!r}")
    models = KINDS[kind].models
    name, _, wanted = model.partition(":")
    name = name or next(iter(models))
    if name not in models:
        raise UnknownModelError(f"model of kind {kind} must be one of {', '.join(models)}, got {model[:80]!r}")
    version = (recorded(models[name]) or "unrecorded")[:12]
    if wanted and wanted != version:
        raise UnknownModelError(f"model {name!r} is here in version {version}, got {wanted[:80]!r}")
    return f"{name}:{version}"


def file_of(kind: str, model: str) -> Path:
    """The file of a model by its full name."""
    return KINDS[kind].models[model.partition(":")[0]]
