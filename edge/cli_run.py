"""`bongsu models run`: runs a version on a node, and shows what it finds in pictures."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click
import msgspec

from edge import audit
from edge.artefact import read_version
from edge.cli_models import opened
from edge.command import fleet_command
from edge.inference import Input, Seen, draw_boxes, parse_every, run_model
from edge.nodes import NodeFile
from edge.oci.manifest import split_reference
from edge.settings import read_settings


@click.command()
@click.argument("reference", metavar="NAME:VERSION")
@click.option("--on", "name", metavar="NODE", required=True, help="The node that runs it; it must have the version.")
@click.option(
    "--input", "given", metavar="FILE|FOLDER|CAMERA", required=True,
    help="Local pictures (.jpg), node:PATH for files on the node, camera:ID of its cameras.yaml, or rtsp://…",
)  # fmt: skip
@click.option(
    "--every", metavar="TIME", default="5s", show_default=True, help="Time between pictures of a camera or video."
)
@click.option(
    "--count", type=click.IntRange(0), default=0, help="Number of pictures of a camera; default: until Ctrl-C."
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each picture.")
@click.option(
    "--draw", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write the boxes here, as SVG."
)
@fleet_command
async def run(
    *, reference: str, name: str, given: str, every: str, count: int, as_json: bool, folder: Path | None
) -> int:
    """Run a version on a node, and show what it finds."""
    settings, what, every_s = read_settings(), Input.parse(given), parse_every(every)
    node = NodeFile(settings.folder).get(name)
    async with opened(settings) as registry:
        version = await read_version(registry, *split_reference(reference))
    view = _View(as_json, folder)
    audit.record(settings.folder, "model_run", name, model=version.name, version=version.card.version)
    pictures = await run_model(node, version, what, view.show, every_s=every_s, count=count)
    view.sum_up(pictures)
    return 1 if view.failed else 0


class _View:
    """Prints each picture's result as it comes, and totals at the end."""

    def __init__(self, is_json: bool, folder: Path | None) -> None:
        self._is_json, self._folder = is_json, folder
        self._objects: Counter[str] = Counter()
        self._pictures: Counter[str] = Counter()
        self._taken_s = 0.0
        self._drawn = 0
        self.failed = 0

    def show(self, seen: Seen) -> None:
        """Print one picture's result."""
        self.failed += bool(seen.error)
        self._taken_s += seen.duration_s
        labels = [found.label for found in seen.detections]
        self._objects.update(labels)
        self._pictures.update(set(labels))
        if self._folder is not None and not seen.error:
            self._drawn += 1
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{self._drawn:05}.svg").write_text(draw_boxes(seen))
        if self._is_json:
            print(msgspec.json.encode(seen).decode(), flush=True)
            return
        found = ", ".join(f"{_clean(d.label)} {d.confidence:.2f}" for d in seen.detections)
        print(
            f"{_clean(seen.at or '-'):<29} {_clean(seen.source):<32} {_clean(seen.error) or found or '-'}", flush=True
        )

    def sum_up(self, pictures: int) -> None:
        """Print the totals on stderr."""
        counts = [f"{label} {n} in {self._pictures[label]}" for label, n in sorted(self._objects.items())]
        seen = max(1, pictures - self.failed)
        print(
            f"{pictures} pictures, {self.failed} unreadable, {1000 * self._taken_s / seen:.0f} ms each; "
            f"{', '.join(counts) or 'nothing found'}",
            file=sys.stderr,
        )


def _clean(text: str) -> str:
    """A node's text, safe for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
