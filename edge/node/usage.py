"""What the version in use and the one before it have done on this node, as the detector counts it (detect/usage.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.node.messages import NAME, Refused, checked
from edge.node.versions import MODELS, current_of, kept_in

_COUNTS = ("bursts", "alarms", "errors")


def read_usage(request: dict[str, Any]) -> dict[str, Any]:
    """Bursts, alarms and errors of the version in use, and of the one that was in use before."""
    folder = MODELS / checked(request["name"], NAME)
    current = current_of(folder)
    if current is None:
        raise Refused(f"no version of {request['name']} is in use here")
    earlier = [digest for digest in kept_in(folder) if digest != current]
    before = _sum(folder, earlier[-1]) if earlier else None
    return {"current": _sum(folder, current), "before": before}


def _sum(folder: Path, digest: str) -> dict[str, Any]:
    total = dict.fromkeys(_COUNTS, 0)
    for path in (folder / ".usage" / digest).glob("*.json"):
        try:
            counted = json.loads(path.read_text())
            for name in _COUNTS:
                total[name] += max(0, int(counted.get(name, 0)))
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # of a process that is writing, or was killed in it
    return {"digest": f"sha256:{digest}", **total}
