"""Translates EVC's configuration into `fleet.yaml`; `bongsu fleet import` calls it.

`ServerConfig.yaml` has nodes that build (`builder`), paths (`hosts_file` is an inventory) and lists of steps (`autorun`
is one), each step with an `activation`. The user's project beside it, `myEVCconfig.yaml`, has the nodes (`target`, by
group) and the model; a step may have its own under `vars` and `node`. States (which nodes, which version where) go into
the file; actions (build, train, predict, watch) become notes with the corresponding bongsu command.
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
from edge.nodes import SshAddress, check_node_name

PROJECT = "myEVCconfig.yaml"
_NAMES = ("model_name", "model", "name")
_DATA = ("data", "input", "source", "dataset")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")
_FACTS = ("hw", "os", "gpu", "owner")


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


def translate(
    path: Path, inventory: Path | None = None, user: str | None = None, project: Path | None = None
) -> Translation:
    """Translate a configuration.

    Args:
        path: path of `ServerConfig.yaml`.
        inventory: path of `hosts.ini`; None: the configuration's, or the one in its folder.
        user: the SSH user, of which EVC's files have none.
        project: path of the user's project, `myEVCconfig.yaml`; None: the one in the configuration's folder, if any.

    Raises:
        FleetError: a file cannot be read, or it has no step with an `activation`.
    """
    content = _read(path)
    steps = list(_steps(content))
    if not steps:
        raise FleetError(f"{path} has no step with an `activation`: is it EVC's ServerConfig.yaml?")
    project = project or (path.parent / PROJECT if (path.parent / PROJECT).exists() else None)
    defaults: dict[str, Any] = _read(project) if project is not None else {}
    if not isinstance(defaults, dict):
        raise FleetError(f"{project} has no keys: is it the project's {PROJECT}?")
    translation = Translation()
    _add_nodes(translation, content, defaults, user)
    _add_inventory(translation, steps, inventory, path.parent, user)
    for number, step in enumerate(steps, 1):
        _take(translation, {**step, **{k: v for k, v in defaults.items() if k not in step}}, number)
    return translation


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise FleetError(f"{path}: {' '.join(str(error).split())}") from None


def _take(translation: Translation, step: dict[str, Any], number: int) -> None:
    act = str(step["activation"])
    if act in ("download", "delete"):
        _model(translation, step, act, number)
    elif act == "register":
        if (reference := _reference(step)) is not None:
            translation.notes.append(
                f"step {number} (register): EVC built an image of {reference} from a Dockerfile; here a model is "
                f"weights with model.yaml: bongsu models push FOLDER --sign, or `push: FOLDER` of {reference}"
            )
    elif act in ("train", "pred", "run", "gradio", "mon_d", "mon_m"):
        translation.notes.append(f"step {number} ({act}): {_command(act, step)}")
    else:
        translation.notes.append(f"step {number}: the activation {act[:80]!r} is unknown here and left out")


def _add_nodes(translation: Translation, content: Any, project: dict[str, Any], user: str | None) -> None:
    """Nodes that the files themselves list: builders, and the project's, by group."""
    groups: dict[str, Any] = {"builder": content.get("builder") if isinstance(content, dict) else None}
    if isinstance(project.get("target"), dict):
        groups |= project["target"]
    for group, entries in groups.items():
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and "name" in entry and "ip" in entry:
                labels = {key: str(entry[key]) for key in _FACTS if str(entry.get(key) or "None") != "None"}
                address = f"{user}@{entry['ip']}:{entry.get('port', 22)}"
                _put(translation, str(entry["name"]), address if user else None, {str(group): "true", **labels})


def _add_inventory(
    translation: Translation, steps: list[dict[str, Any]], inventory: Path | None, folder: Path, user: str | None
) -> None:
    path = inventory or next((folder / value for step in steps if (value := _inventory_in(step))), folder / "hosts.ini")
    if not path.exists() and inventory is None:
        if not translation.nodes:
            translation.notes.append(f"no nodes: there is no {path}; name the inventory with --hosts")
        return
    found = read_inventory(path)
    translation.notes.extend(found.notes)
    for name, host in found.hosts.items():
        try:
            address = str(host.address(user))
        except FleetError as error:
            if name not in translation.nodes:
                translation.notes.append(f"{name} is left out: {error}")
            continue
        _put(translation, name, address, dict.fromkeys(host.groups, "true"), host.key)


def _put(
    translation: Translation, name: str, address: str | None, labels: dict[str, str], key: str | None = None
) -> None:
    """Add a node; of one that two files list, the labels of both."""
    if address is None:
        translation.notes.append(f"{name} is left out: EVC's files have no SSH user: name one with --user")
        return
    try:
        name, ssh = check_node_name(name.lower().replace("_", "-")), str(SshAddress.parse(address))
    except FleetError as error:
        translation.notes.append(f"{name} is left out: {error}")
        return
    known = translation.nodes.get(name)
    labels = {**(known.labels if known is not None else {}), **labels}
    translation.nodes[name] = NodeEntry(ssh=ssh, key=key or (known.key if known is not None else None), labels=labels)


def _inventory_in(step: dict[str, Any]) -> str | None:
    return next((value for _, value in _values(step) if value.endswith(".ini")), None)


def _reference(step: dict[str, Any]) -> str | None:
    """`NAME:VERSION` of a step. Its own `name` is what it is called; a model's is under `vars`, or `model_name`."""
    name = _value(step, *(_NAMES if "model_name" not in step and "vars" not in step else ("model_name", "model")))
    version = _value(step, "version", "tag")
    if name is None or version is None:
        return None
    return f"{_NOT_IN_A_NAME.sub('-', name.lower()).strip('-')}:{version}"


def _selector(translation: Translation, step: dict[str, Any]) -> str:
    """The nodes of a step: `node` by name, or the project's groups; all, where it names none."""
    named = step.get("node")
    if isinstance(named, list | str):
        return ",".join([named] if isinstance(named, str) else [str(one) for one in named])
    groups = step.get("group")
    groups = [str(one) for one in groups] if isinstance(groups, list) else []
    names = [n for n, node in translation.nodes.items() if any(node.labels.get(group) == "true" for group in groups)]
    return f"{groups[0]}=true" if len(groups) == 1 and names else ",".join(names) or "all"


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


def _model(translation: Translation, step: dict[str, Any], act: str, number: int) -> None:
    reference = _reference(step)
    if reference is None:
        translation.notes.append(
            f"step {number} ({act}): it names no model and version: they are in the project's {PROJECT} (--project)"
        )
        return
    if act == "delete":
        translation.models.pop(reference, None)
        translation.notes.append(f"step {number} (delete): bongsu models delete {reference}")
        return
    translation.models[reference] = ModelEntry(version=reference, nodes=_selector(translation, step))
    translation.notes.append(
        f"step {number} (download): EVC ran a container there; here a model is weights with model.yaml: write one, and "
        f"name its folder as `push` of {reference}"
    )


def _command(act: str, step: dict[str, Any]) -> str:
    reference = _reference(step) or f"{(_value(step, *_NAMES) or 'NAME').lower()}:VERSION"
    if act in ("pred", "run", "gradio"):
        return f"bongsu models run {reference} --on NODE --input {_value(step, *_DATA) or 'FOLDER'}"
    if act == "train":
        return "training is not a state of the fleet: bongsu models learn, or make train, and then push the version"
    if act == "mon_d":
        return "bongsu nodes watch shows the devices"
    return "bongsu nodes list shows which version each node uses, bongsu models run counts what it finds"
