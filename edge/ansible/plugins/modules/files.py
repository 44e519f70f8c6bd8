"""Ansible module `bongsu.edge.files`: several small files in one task, because each task takes a second."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: files
short_description: Several small files as they are to be
description: Writes files that differ, removes paths, and keeps lines in or out of files of others.
options:
  files: {description: Content by path., type: dict, default: {}, no_log: true}
  lines: {description: "Path, line, and whether it is to be there.", type: list, elements: dict, default: []}
  absent: {description: Files and folders that are not to be there., type: list, elements: path, default: []}
author: [Bongsu's contributors]
"""
RETURN = """
steps: {description: "What changed, or would: a line each.", type: list, returned: always}
paths: {description: The paths that changed., type: list, returned: always}
"""
_MODES = {".pem": 0o644, ".crt": 0o644, ".service": 0o644, ".timer": 0o644}


def main() -> None:
    """Compare, and write what differs."""
    spec: dict[str, Any] = {
        "files": {"type": "dict", "default": {}, "no_log": True},
        "lines": {"type": "list", "elements": "dict", "default": []},
        "absent": {"type": "list", "elements": "path", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    wanted: dict[Path, str | None] = {Path(path): text for path, text in module.params["files"].items()}
    for entry in module.params["lines"]:
        path = Path(entry["path"])
        if (text := _with_line(path, entry["line"], is_there=entry["present"])) is not None:
            wanted[path] = text
    steps, paths = [], []
    try:
        for path, content in wanted.items():
            if content is not None and _read(path) != content:
                steps.append(f"{'Change' if path.exists() else 'Write'} {path}")
                paths.append(str(path))
                if not module.check_mode:
                    _write(path, content)
        for path in (Path(name) for name in module.params["absent"]):
            if path.exists():
                steps.append(f"Remove {path}")
                paths.append(str(path))
                if not module.check_mode:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    module.exit_json(changed=bool(steps), steps=steps, paths=paths)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _with_line(path: Path, line: str, *, is_there: bool) -> str | None:
    """The file's text with or without the line; None: it is as it is to be."""
    lines = (_read(path) or "").splitlines()
    if (line in lines) == is_there:
        return None
    lines = [*lines, line] if is_there else [one for one in lines if one != line]
    return "".join(f"{one}\n" for one in lines)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    mode = path.stat().st_mode & 0o777 if path.exists() else _MODES.get(path.suffix, 0o600)
    new = path.with_name(f".{path.name}.bongsu")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "w") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    new.replace(path)


if __name__ == "__main__":
    main()
