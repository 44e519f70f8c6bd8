"""Reads `cameras.yaml` for the worker and `bongsu cameras`; `motion/camera.py` has its fields."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from motion.camera import ANY, SENSITIVITIES, WEBCAM, Burst, Camera, Cameras, Defaults, Jpeg, Place, Zone
from motion.problems import SCHEME, line, shown, unknown
from motion.secrets import SecretsError, lookup, read_secrets, secrets_path

__all__ = [
    "ANY",
    "SENSITIVITIES",
    "Burst",
    "Camera",
    "Cameras",
    "ConfigError",
    "Defaults",
    "Jpeg",
    "Place",
    "Zone",
    "cameras_path",
    "load_cameras",
]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(ValueError):
    """`cameras.yaml` cannot be used; the message is one line with the place, the value and the fix, without a URL."""


def cameras_path() -> Path:
    """The file that the environment names (BONGSU_CAMERAS), or cameras.yaml here."""
    return Path(os.environ.get("BONGSU_CAMERAS") or "cameras.yaml")


def load_cameras(path: Path | str) -> Cameras:
    """Read and check a camera file. A camera's relative path is relative to that file.

    Raises:
        ConfigError: it does not exist, is not YAML, or a value is invalid.
    """
    path = Path(path)
    document = _read(path)
    if not isinstance(document, dict) or not isinstance(document.get("cameras"), list):
        raise ConfigError(f"{path}: must have a list 'cameras:', as in cameras.example.yaml")
    for key in document:
        if key not in ("cameras", "defaults"):
            raise ConfigError(f"{path}: {unknown(str(key), ['cameras', 'defaults'])}")
    defaults = document.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise ConfigError(f"{path}: defaults: must be a mapping, got {shown(defaults)}")
    _checked(Defaults, defaults, f"{path}: defaults", {})
    try:
        secrets = read_secrets(secrets_path(path))
    except SecretsError as error:
        raise ConfigError(str(error)) from None
    found: list[Camera] = []
    for number, entry in enumerate(document["cameras"], 1):
        camera = _camera(path, number, entry, defaults, secrets)
        if any(camera.id == other.id for other in found):
            raise ConfigError(f"{path}: camera {camera.id!r} appears twice: give each its own id")
        found.append(camera)
    return Cameras(cameras=tuple(found))


def _camera(path: Path, number: int, entry: object, defaults: dict[Any, Any], secrets: Mapping[str, str]) -> Camera:
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}: camera number {number} must be a mapping with id, url and place")
    given_id = entry.get("id")
    where = f"{path}: camera {shown(given_id)}" if given_id is not None else f"{path}: camera number {number}"
    merged = _merge(defaults, entry)
    for key in ("url", "detect_url"):
        if isinstance(merged.get(key), str):
            merged[key] = _located(_expand(merged[key], f"{where}: {key}", secrets), path.parent, f"{where}: {key}")
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
        # Only the position is shown: the text around it may be a URL.
        mark = error.problem_mark
        at = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{path}: is not YAML{at}: {_without_url(error.problem)}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        # PyYAML's own constructors fail on values that do not fit their tag, such as `!!bool maybe`.
        raise ConfigError(f"{path}: is not YAML: it holds characters or nesting that YAML does not allow") from None


def _without_url(problem: str | None) -> str:
    text = " ".join((problem or "cannot be parsed").split())
    return "something is in the wrong place" if "://" in text else text


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a duplicate key; YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be a word; text in braces, as in {{ name }}, needs quotes or filling in"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _merge(defaults: dict[Any, Any], entry: dict[Any, Any]) -> dict[Any, Any]:
    merged = {**defaults, **entry}
    for key in ("burst", "jpeg", "thresholds"):
        if isinstance(defaults.get(key), dict) and isinstance(entry.get(key), dict):
            merged[key] = {**defaults[key], **entry[key]}
    return merged


def _expand(url: str, where: str, secrets: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = lookup(name, secrets)
        if found is None:
            raise ConfigError(
                f"{where}: ${{{name}}} is not set: export {name} before starting, or write it into cameras.env"
            )
        return found

    expanded = _VARIABLE.sub(value, url)
    if "${" in _VARIABLE.sub("", url):
        raise ConfigError(f"{where}: a variable must be written ${{NAME}}, with letters, digits and _")
    return expanded


def _located(url: str, folder: Path, where: str) -> str:
    if SCHEME.match(url) or url.startswith("webcam:") or WEBCAM.fullmatch(url.strip()) or not url.strip():
        return url
    try:
        return str(folder / Path(url).expanduser())
    except RuntimeError:
        raise ConfigError(f"{where}: ~ has no home directory here: write the full path of the file") from None


def _checked(model: type[BaseModel], data: dict[Any, Any], where: str, shown: object) -> BaseModel:
    try:
        return model.model_validate({str(key): value for key, value in data.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)
        unknown = [e for e in first if e["type"] == "extra_forbidden"]
        raise ConfigError(f"{where}: {line(model, (unknown or first)[0])}") from None
