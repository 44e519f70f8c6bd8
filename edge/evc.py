"""Translates EVC's configuration, `ServerConfig.yaml`, into `fleet.yaml`; `bongsu fleet import` calls it.

The configuration is a list of steps, each with an `activation`. States (which nodes, which version where) go into the
file; actions (train, predict, watch) become notes with the corresponding bongsu command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edge.errors import FleetError
from edge.fleet_file import FleetFile, ModelEntry, NodeEntry
from edge.inventory import read_inventory

_NAMES = ("model_name", "model", "name")
_DATA = ("data", "input", "source", "dataset")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(slots=True)
class Translation:
    """The result: the file, and a note for each step that is not in it."""

    nodes: dict[str, NodeEntry] = field(default_factory=dict)
    models: dict[str, ModelEntry] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def file(self) -> FleetFile:
        """The wanted fleet."""
        return FleetFile(self.nodes, list(self.models.values()))


def translate(path: Path, inventory: Path | None = None, user: str | None = None) -> Translation:
    """Translate a configuration.

    Args:
        path: path of `ServerConfig.yaml`.
        inventory: path of `hosts.ini`; None: the configuration's, or the one in its folder.
        user: the SSH user if the inventory has none.

    Raises:
        FleetError: it cannot be read, or it has no step with an `activation`.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise FleetError(f"{path}: {' '.join(str(error).split())}") from None
    steps = list(_steps(content))
    if not steps:
        raise FleetError(f"{path} has no step with an `activation`: is it EVC's ServerConfig.yaml?")
    translation = Translation()
    for number, step in enumerate(steps, 1):
        act = str(step["activation"])
        if act == "register":
            _register(translation, step, inventory or _inventory_of(step, path.parent), user)
        elif act in ("download", "delete"):
            _model(translation, step, act, number)
        elif act in ("train", "pred", "mon_d", "mon_m"):
            translation.notes.append(f"step {number} ({act}): {_command(act, step)}")
        else:
            translation.notes.append(f"step {number}: the activation {act[:80]!r} is unknown here and left out")
    return translation


def _steps(content: Any) -> Iterator[dict[str, Any]]:
    """Mappings with an `activation`, in order, at any depth."""
    if isinstance(content, dict):
        if "activation" in content:
            yield content
            return
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from _steps(part)


def _values(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys and scalar values of a step, including nested ones."""
    for key, value in step.items():
        if isinstance(value, dict):
            yield from _values(value)
        elif isinstance(value, str | int | float):
            yield str(key), str(value)


def _value(step: dict[str, Any], *names: str) -> str | None:
    found = dict(reversed(list(_values(step))))
    return next((found[name] for name in names if found.get(name)), None)


def _inventory_of(step: dict[str, Any], folder: Path) -> Path:
    named = next((value for _, value in _values(step) if value.endswith(".ini")), "hosts.ini")
    return folder / named


def _register(translation: Translation, step: dict[str, Any], path: Path, user: str | None) -> None:
    inventory = read_inventory(path)
    translation.notes.extend(inventory.notes)
    for name, host in inventory.hosts.items():
        try:
            address = str(host.address(user))
        except FleetError as error:
            translation.notes.append(f"{name} is left out: {error}")
            continue
        labels = dict.fromkeys(host.groups, "true")
        translation.nodes[name] = NodeEntry(ssh=address, key=host.key, labels=labels)


def _model(translation: Translation, step: dict[str, Any], act: str, number: int) -> None:
    name, version = _value(step, *_NAMES), _value(step, "version", "tag")
    if name is None or version is None:
        translation.notes.append(f"step {number} ({act}): it names no model and version: add one to `models`")
        return
    reference = f"{_NOT_IN_A_NAME.sub('-', name.lower()).strip('-')}:{version}"
    if act == "delete":
        translation.models.pop(reference, None)
        translation.notes.append(f"step {number} (delete): bongsu models delete {reference}")
        return
    translation.models[reference] = ModelEntry(version=reference)
    source = _value(step, "url", "repo", "git", "path")
    translation.notes.append(
        f"step {number} (download): EVC built a container image from {source or 'a project'}; here a model is weights "
        f"with model.yaml: write one, and name its folder as `push` of {reference}"
    )


def _command(act: str, step: dict[str, Any]) -> str:
    reference = f"{_value(step, *_NAMES) or 'NAME'}:{_value(step, 'version', 'tag') or 'VERSION'}".lower()
    if act == "pred":
        return f"bongsu models run {reference} --on NODE --input {_value(step, *_DATA) or 'FOLDER'}"
    if act == "train":
        return "training is not a state of the fleet: make train, then push the version and name it in `models`"
    if act == "mon_d":
        return "bongsu nodes watch shows the devices"
    return "bongsu nodes list shows which version each node uses, bongsu models run counts what it finds"
