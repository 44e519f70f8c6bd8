"""Loads only weights whose sha256 is recorded in a `SHA256SUMS` in their folder.

A network is code, so an unknown one is not run. The detector, export and training read weights through this module.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "detect/weights"
SUMS = "SHA256SUMS"
MANIFEST = ".manifest.json"
"""The OCI manifest of a version that the fleet deployed, in the folder of its files."""
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(.+)")


class ModelError(RuntimeError):
    """A network cannot be loaded or run; the message names the file and the fix."""


def read_verified(path: Path) -> bytes:
    """The file's bytes, if their digest is the recorded one.

    A file is recorded in the `SHA256SUMS` of its folder, or by its name in that of `detect/weights/`, which also lists
    the checkpoints that training starts from.

    Raises:
        ModelError: there is no such file, or its digest differs from the recorded one.
    """
    sums = path.parent / SUMS
    try:
        content = path.read_bytes()
        known = _recorded(sums) if sums.is_file() else _recorded(WEIGHTS / SUMS)
    except OSError as error:
        raise ModelError(f"no weights at {error.filename}: {error.strerror}; see detect/weights/README.md") from None
    if known.get(path.name) != hashlib.sha256(content).hexdigest():
        raise ModelError(
            f"{path} differs from its sha256 in {sums}: fetch it again, or, if you trust it, record it with "
            f"`python -m models.record {path}`"
        )
    return content


def find_weights(path: Path) -> Path:
    """The weights file that a path names: a file, or the folder of a version that the fleet deployed.

    Links are resolved, so that the weights and their `SHA256SUMS` are of one version even while `current` is switched
    to another.

    Raises:
        ModelError: it is a folder, but not of a version (docs/fleet.md).
    """
    found = path.expanduser().resolve()
    if not found.is_dir():
        return found
    try:
        name = json.loads((found / MANIFEST).read_bytes())["annotations"]["org.bongsu.model.weights"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{path} is a folder, but not a deployed version of a model: name a file of weights") from None
    return found / Path(str(name)).name


def recorded(path: Path) -> str | None:
    """The recorded sha256 of a file, which need not exist."""
    sums = path.parent / SUMS
    return (_recorded(sums) if sums.is_file() else _recorded(WEIGHTS / SUMS)).get(path.name)


def record(path: Path) -> None:
    """Write the file's sha256 to the `SHA256SUMS` of its folder, replacing an older one."""
    sums = path.parent / SUMS
    known = _recorded(sums) if sums.is_file() else {}
    known[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    sums.write_text("".join(f"{known[name]}  {name}\n" for name in sorted(known)))


def _recorded(sums: Path) -> dict[str, str]:
    """The sha256 of each file by name, from lines in sha256sum's format."""
    known = {}
    for line in sums.read_text(errors="replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise ModelError(f"{sums}: a line must be a sha256 and the name of a file, got {line[:120]!r}")
        known[parts[2]] = parts[1].lower()
    return known
