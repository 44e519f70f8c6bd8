"""What trains: any command that reads a corpus and writes an ONNX file; by default that of `make train`."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

from edge.errors import FleetError
from edge.request import clean

_ENVIRONMENT = Path(".venv-train/bin/python")


async def train(command: str | None, corpus: Path, weights: Path, log: Path) -> None:
    """Train, and leave the network in `weights`.

    Args:
        command: A shell's command, with `{corpus}`, `{weights}` and `{run}` in the place of paths (a folder of its own
            that outlives a stop); the first two follow at its end if it names neither. None: detect.training.
        corpus: Folder with `manifest.csv`.
        weights: The ONNX file that it has to write.
        log: Receives what it prints.

    Raises:
        FleetError: it failed, or wrote no ONNX file; the message has its last line.
    """
    line = _fill(command or default_command(), corpus, weights, log.parent / "training")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", line, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
    if status:
        said = log.read_text(errors="replace").strip().splitlines()
        raise FleetError(f"the trainer failed ({clean(said[-1]) if said else f'status {status}'}); its log is {log}")
    if not weights.is_file() or not weights.stat().st_size:
        raise FleetError(f"the trainer ended well but wrote no {weights.name}: it has to write {{weights}}; see {log}")


def default_command() -> str:
    """Training and export as `make train` does it, in its environment if that is here."""
    python = str(_ENVIRONMENT.absolute()) if _ENVIRONMENT.exists() else sys.executable
    train_it = f"{shlex.quote(python)} -m detect.training.train {{corpus}} --run {{run}}"
    # A run that is finished is not begun again.
    export = f"{shlex.quote(python)} -m detect.training.export hazard {{run}}/weights/best.pt {{weights}}"
    return f"(test -f {{run}}/card.md || {train_it}) && {export}"


def _fill(command: str, corpus: Path, weights: Path, run: Path) -> str:
    if "{corpus}" not in command and "{weights}" not in command:
        command = f"{command} {{corpus}} {{weights}}"
    for name, path in (("corpus", corpus), ("weights", weights), ("run", run)):
        command = command.replace(f"{{{name}}}", shlex.quote(str(path.absolute())))
    return command
