"""`bongsu cameras`: `check` opens every camera of the file, and reports its stream or why it cannot be read."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from motion.config import Camera, ConfigError, cameras_path, load_cameras
from motion.opening import StreamError
from motion.reading import Probe, probe
from motion.setup.cli import discover, import_

LIMIT_S = 12.0
_THUMBNAIL_WIDTH, _THUMBNAIL_QUALITY = 480, 80


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one camera: the probe, or the reason in one line."""

    probe: Probe | None = None
    reason: str = ""


@click.group()
def cameras() -> None:
    """Find, take over and check the cameras of this site."""


cameras.add_command(discover)
cameras.add_command(import_)


@cameras.command()
@click.option(
    "--file", type=click.Path(path_type=Path), default=cameras_path, show_default="BONGSU_CAMERAS, or cameras.yaml"
)
@click.option("--thumbnails", type=click.Path(path_type=Path), metavar="DIR", help="Store a picture of each here.")
@click.option("--node", help="Only the cameras of this node.")
def check(file: Path, thumbnails: Path | None, node: str | None) -> int:
    """Open every camera and report its stream; the status is 1 if one failed, 2 if the file is unusable."""
    try:
        found = load_cameras(file).of_node(node)
    except ConfigError as error:
        print(f"bongsu: {error}", file=sys.stderr)
        return 2
    findings = check_cameras(found, thumbnails)
    print(_table(found, findings, thumbnails))
    return 0 if all(finding.probe for finding in findings) else 1


def check_cameras(
    found: Sequence[Camera],
    thumbnails: Path | None = None,
    limit_s: float = LIMIT_S,
    open_: Callable[[str, float], Probe] = probe,
) -> list[Finding]:
    """Open all cameras at once; one that has not answered after `limit_s` seconds has failed."""
    findings: list[Finding | None] = [None] * len(found)

    def look(index: int, camera: Camera) -> None:
        try:
            seen = open_(camera.url.get_secret_value(), camera.max_latency_s)
            if camera.detect_url is not None:
                small = open_(camera.detect_url.get_secret_value(), camera.max_latency_s)
                seen = replace(seen, decoding=f"{small.decoding} (detect_url, {small.width}x{small.height})")
            if thumbnails is not None:
                # Only for the operator: they are unredacted.
                thumbnails.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = thumbnails / f"{camera.id}.jpg"
                path.touch(mode=0o600)
                path.write_bytes(seen.picture.jpeg(_THUMBNAIL_WIDTH, _THUMBNAIL_QUALITY))
            findings[index] = Finding(seen)
        except StreamError as error:
            findings[index] = Finding(reason=str(error))
        except OSError as error:
            findings[index] = Finding(reason=f"thumbnail in {thumbnails}: {error.strerror}")

    threads = [
        threading.Thread(target=look, args=(i, camera), daemon=True, name=f"check-{camera.id}")
        for i, camera in enumerate(found)
    ]
    for thread in threads:
        thread.start()
    end_s = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    return [finding or Finding(reason=f"no answer for {limit_s:g} s") for finding in findings]


def _table(found: Sequence[Camera], findings: Sequence[Finding], thumbnails: Path | None) -> str:
    rows = [("camera", "codec", "size", "fps", "first frame", "decoded", "thumbnail" if thumbnails else "")]
    for camera, finding in zip(found, findings, strict=True):
        seen = finding.probe
        if seen is None:
            rows.append((camera.id, f"FAILED: {finding.reason}", "", "", "", "", ""))
            continue
        thumbnail = str(thumbnails / f"{camera.id}.jpg") if thumbnails else ""
        fps = f"{seen.fps:.4g}" if seen.fps else "unknown"
        size = f"{seen.width}x{seen.height}"
        rows.append((camera.id, seen.codec, size, fps, f"{seen.first_frame_s:.2f} s", seen.decoding, thumbnail))
    failed = sum(1 for finding in findings if finding.probe is None)
    widths = [max(len(row[i]) for row in rows if not row[1].startswith("FAILED")) for i in range(7)]
    widths[0] = max(len(row[0]) for row in rows)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"{len(found)} cameras, {failed} failed"])
