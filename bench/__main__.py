"""Runs every measurement and prints one table; nothing else should be running on the machine."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from datetime import date

from bench import (
    broker,
    clips,
    detector,
    function,
    motion,
    overload,
    rabbit,
    redaction,
    relay,
    sessions,
    store,
    streams,
    wake,
)

_PARTS: dict[str, Callable[[float], list[tuple[str, str, str]]]] = {
    "relay": relay.rows,
    "wake": wake.rows,
    "detector": detector.rows,
    "function": function.rows,
    "motion": motion.rows,
    "broker": broker.rows,
    "store": store.rows,
    "streams": streams.rows,
    "rabbit": rabbit.rows,
    "overload": overload.rows,
    "redaction": redaction.rows,
    "sessions": sessions.rows,
    "clips": clips.rows,
}


def main() -> None:
    """Print the table in Markdown, as in docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"only these of {', '.join(_PARTS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1 for a quick run")
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(_PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    print(f"{date.today()}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}\n")
    print("| what | measured | aim |\n|---|---|---|")
    for name in chosen.parts or _PARTS:
        for row in _PARTS[name](chosen.scale):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
