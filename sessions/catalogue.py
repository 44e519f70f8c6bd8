"""The kinds of session, the models of each, and the resources of a worker of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.registry import WEIGHTS, recorded

# By file, not from models/network.py, which imports OpenCV: the agent and workers for rows do not need it.
# tests/sessions/test_catalogue.py checks that the two agree.
_HAZARD, _SCENE = WEIGHTS / "hazard4_320.onnx", WEIGHTS / "scene_640.onnx"
_BOX_HAZARD = Path(__file__).parent / "weights/box_hazard.json"


class UnknownModelError(ValueError):
    """There is no such kind or model; the message lists the existing ones."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of session.

    Attributes:
        takes: the content of a request.
        models: file of each model by its name; the first is the default.
        cores: expected use of a busy worker.
        most_cores: what a worker on one machine may use, 0: unlimited. It has one thread, which is a limit of one core.
        memory_mb: measured resident size of a worker that has answered, with a margin.
    """

    takes: str
    models: Mapping[str, Path]
    cores: float
    most_cores: float
    memory_mb: float


KINDS: dict[str, Kind] = {
    "scalar": Kind("a row of numbers", {"box-hazard": _BOX_HAZARD}, 0.05, 0.5, 60.0),
    "image": Kind("a JPEG", {"hazard": _HAZARD}, 0.5, 0.0, 320.0),
    "object": Kind("a JPEG", {"hazard": _HAZARD, "scene": _SCENE}, 0.5, 0.0, 260.0),
}


def resolve(kind: str, model: str = "") -> str:
    """The full name of a model, with its version.

    Args:
        kind: of the session.
        model: `name`, `name:version` or empty for the kind's default; the version is the start of the file's recorded
            sha256.

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
