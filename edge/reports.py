"""What nodes report of themselves through the gateway; `service.py` uses it where SSH does not reach a node."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from edge.errors import FleetError
from edge.nodes import check_node_name
from edge.state_file import write_private
from edge.watch import Health, Sample

MAX_REPORT_BYTES = 16 << 10
"""A report has about 400."""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node's state in its own words; edge/node/report.py sends it.

    Attributes:
        clock: its time, in seconds since 1970.
        health: its load, as it would answer over SSH.
    """

    clock: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    health: Health


class ReportFolder:
    """The newest report of each node, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "reports"

    def put(self, node: str, report: Report) -> None:
        """Keep a report; the time is ours, as the node's clock may be wrong."""
        drift_s = round(report.clock - time.time(), 3)
        sample = Sample(node=node, at=datetime.now(UTC), health=report.health, drift_s=drift_s)
        write_private(self._folder / f"{check_node_name(node)}.json", msgspec.json.encode(sample))

    def newest(self, node: str, within_s: float) -> Sample | None:
        """The last report of a node as a sample; None: there is none that is young enough.

        Raises:
            FleetError: the file cannot be read.
        """
        path = self._folder / f"{node}.json"
        try:
            sample = msgspec.json.decode(path.read_bytes(), type=Sample)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise FleetError(f"{path} cannot be read: {error}") from None
        return sample if (datetime.now(UTC) - sample.at).total_seconds() <= within_s else None

    def forget(self, node: str) -> None:
        """Delete what a node reported."""
        (self._folder / f"{node}.json").unlink(missing_ok=True)
