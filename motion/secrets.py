"""User names and passwords of cameras in `cameras.env` beside `cameras.yaml`, for variables the environment lacks."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from motion.files import replace_text

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretsError(ValueError):
    """The file of secrets cannot be used; one line that holds no value of it."""


def secrets_path(cameras: Path) -> Path:
    """The file of secrets that belongs to a file of cameras: `cameras.env` beside `cameras.yaml`."""
    return cameras.with_suffix(".env")


def read_secrets(path: Path) -> dict[str, str]:
    """The variables of a file of lines `NAME=value`, as a shell would read them; empty where there is no file.

    Raises:
        SecretsError: it cannot be read, others can read it, or a line is not `NAME=value`.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if mode & 0o077:
        raise SecretsError(f"{path}: other users can read it (mode {mode & 0o777:o}): chmod 600 {path}")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or not NAME.fullmatch(name.strip()):
            raise SecretsError(f"{path}: line {number} must be NAME=value")
        try:
            found[name.strip()] = "".join(shlex.split(value, comments=False))
        except ValueError:
            raise SecretsError(f"{path}: line {number}: a quote is not closed") from None
    return found


def add_secrets(path: Path, values: Mapping[str, str]) -> None:
    """Write these variables into the file, readable by its owner alone; other lines stay as they are.

    Raises:
        SecretsError: the file that is there cannot be used.
        OSError: it cannot be written.
    """
    read_secrets(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.strip().removeprefix("export ").partition("=")[0].strip() not in values]
    added = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    replace_text(path, "\n".join([*kept, *added]) + "\n", mode=0o600)


def lookup(name: str, secrets: Mapping[str, str]) -> str | None:
    """The value of a variable: the environment's, else the file's; None where neither has one."""
    return os.environ.get(name) or secrets.get(name) or None
