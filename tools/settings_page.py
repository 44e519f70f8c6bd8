"""Reads the settings of all rooms from the source of their `Environment` classes; `tools/generate.py` writes the page.

It reads the source instead of importing the classes, because the rooms' packages are not always all installed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("functions", "motion", "detect", "models", "store", "privacy", "notify", "api", "edge", "sessions", "local")
DIRECT = {
    "BONGSU_CAMERA_PASSWORD": ("", "Password of the cameras that `bongsu cameras discover` asks (motion)."),
    "BONGSU_CAMERAS": ("cameras.yaml", "File that lists the cameras (motion)."),
    "BONGSU_DETECT_WEIGHTS": ("", "ONNX file of another hazard network than the shipped one (detect)."),
    "BONGSU_DETECT_DEVICE": ("auto", "Device of networks: auto, cpu, cuda or another of the backend (detect)."),
    "BONGSU_DETECT_PEOPLE": ("0", "The most people of a burst to inspect for weapons; 0: none (detect)."),
    "BONGSU_DETECT_THREADS": ("2", "CPU threads of each network (detect)."),
    "BONGSU_FLEET": ("state/fleet", "Folder of a fleet: nodes.yaml, keys, the audit log (edge)."),
    "BONGSU_FLEET_GATEWAY": ("", "`https://host[:port]` of `bongsu fleet gateway` as nodes reach it (edge)."),
    "BONGSU_FLEET_GATEWAY_CA": ("", "PEM file of the authority that signed the gateway's certificate (edge)."),
    "BONGSU_GATEWAY_LISTEN": ("127.0.0.1:8094", "`host:port` of `bongsu fleet gateway` (edge)."),
    "BONGSU_GATEWAY_CERTIFICATE": ("", "PEM file of the gateway's certificate, with the chain (edge)."),
    "BONGSU_GATEWAY_KEY": ("", "PEM file of the key of that certificate (edge)."),
    "BONGSU_MODEL_REGISTRY": (
        "",
        "`https://host[:port][/prefix]`, or a folder in OCI layout; `models` in the fleet's folder.",
    ),
    "BONGSU_MODEL_REGISTRY_CA": ("", "PEM file of the authority that signed the registry's certificate (edge)."),
    "BONGSU_MODEL_REGISTRY_USER": ("", "User for pushing and deleting models (edge)."),
    "BONGSU_MODEL_REGISTRY_PASSWORD": ("", "Password of that user; or its file, `…_FILE`."),
    "BONGSU_MODEL_REGISTRY_READER": (
        "",
        "User for pulling models on the nodes; without one, the user for pushing (edge).",
    ),
    "BONGSU_MODEL_REGISTRY_READER_PASSWORD": ("", "Password of that user; or its file, `…_FILE`."),
    "BONGSU_SIGNING_KEY": (
        "",
        "PEM file of the key that signs models; `keys/signing.pem` in the fleet's folder (edge).",
    ),
    "BONGSU_SIGNING_PASSPHRASE": ("", "Passphrase of that key (edge)."),
    "BONGSU_SSH_PASSPHRASE": ("", "Passphrase of the key that signs in to nodes (edge)."),
    "BONGSU_SESSIONS_KEY": ("", "Key with which `bongsu sessions` asks the receive server."),
}
"""Variables that are read without an `Environment` class, with their defaults and meaning."""
INTERNAL = (
    "BONGSU_NODE_HOME",
    "BONGSU_NODE_PYTHON",
    "BONGSU_MODEL_REGISTRY_PASSWORD_FILE",
    "BONGSU_MODEL_REGISTRY_READER_PASSWORD_FILE",
    "BONGSU_DEMO_RTSP_PORT",
    "BONGSU_PARENT_WATCH_GRACE_S",
    "BONGSU_PARENT_WATCH_LOG",
    "BONGSU_PRELOAD",
)
"""Variables that `bongsu run` sets for its processes."""
PAGE = "docs/settings.md"
NAMES = "functions/variables.py"
_HEAD = """# Settings

Every worker and service reads its settings from the environment. An invalid value ends the process with one line that
has the variable's name; an unknown variable gives a warning at start, with the nearest known name. A *secret* can be
given as a file instead: `BONGSU_X_API_SECRET_FILE=/run/secrets/x-api-secret`.

This page is generated from the code by `make generate`.
"""


@dataclass(frozen=True)
class Setting:
    """One variable."""

    name: str
    default: str
    """As in the environment; empty for none."""
    meaning: str
    is_secret: bool
    is_required: bool


@dataclass(frozen=True)
class Group:
    """The settings of one class."""

    module: str
    title: str
    settings: tuple[Setting, ...]


class UndocumentedError(ValueError):
    """A setting has no docstring; the message names it."""


def read_groups(root: Path) -> list[Group]:
    """All `Environment` classes under the rooms, in the order of the rooms.

    Raises:
        UndocumentedError: a field has no docstring under it.
    """
    parents = {"Environment"}
    groups = []
    for path in (path for room in ROOMS for path in sorted((root / room).rglob("*.py"))):
        text = path.read_text()
        if "Environment" not in text and "Settings(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & parents:
                parents.add(node.name)
                module = ".".join(path.relative_to(root).with_suffix("").parts)
                settings = tuple(_settings(node, f"{module}.{node.name}"))
                if settings:
                    title = (ast.get_docstring(node) or node.name).splitlines()[0]
                    groups.append(Group(module, title, settings))
    return groups


def _settings(node: ast.ClassDef, where: str) -> Iterator[Setting]:
    for field, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        said = following.value if isinstance(following, ast.Expr) else None
        if not isinstance(said, ast.Constant) or not isinstance(said.value, str):
            raise UndocumentedError(f"{where}.{field.target.id} has no docstring: describe its meaning under it")
        is_secret = ast.unparse(field.annotation) == "Secret"
        default = "" if field.value is None else _default(field.value)
        name = f"BONGSU_{field.target.id.upper()}"
        yield Setting(name, default, " ".join(said.value.split()), is_secret, field.value is None)


def _default(value: ast.expr) -> str:
    """A default as it is written in the environment."""
    if isinstance(value, ast.Call) and value.args:  # Path("…"), Secret("…")
        value = value.args[0]
    given = ast.literal_eval(value)
    if isinstance(given, bool):
        return "1" if given else "0"
    return "" if given is None else str(given).removesuffix(".0")


def write_page(groups: list[Group]) -> str:
    """The reference page."""
    lines = [_HEAD]
    for group in groups:
        lines += [f"## {group.title.rstrip('.')}", "", f"Module `{group.module}`.", ""]
        lines += ["| variable | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{s.name}`{' (secret)' if s.is_secret else ''} | {_shown(s)} | {s.meaning.replace('|', '&#124;')} |"
            for s in group.settings
        ]
        lines.append("")
    lines += ["## Read by one room only", "", "| variable | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {f'`{default}`' if default else ''} | {said} |" for name, (default, said) in DIRECT.items()
    ]
    return "\n".join([*lines, ""])


def _shown(setting: Setting) -> str:
    if setting.is_required:
        return "must be set"
    return f"`{setting.default}`" if setting.default else ""


def write_names(groups: list[Group]) -> str:
    """The module with which a starting worker compares its environment."""
    found = {setting.name for group in groups for setting in group.settings}
    secrets = {f"{setting.name}_FILE" for group in groups for setting in group.settings if setting.is_secret}
    names = "".join(f'        "{name}",\n' for name in sorted(found | secrets | DIRECT.keys() | set(INTERNAL)))
    return (
        '"""The variables of the environment that rooms read; written by `make generate` (see docs/settings.md)."""\n\n'
        f"KNOWN = frozenset(\n    {{\n{names}    }}\n)\n"
    )
