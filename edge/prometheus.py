"""Prometheus targets and alerts for the registered nodes; `bongsu nodes prometheus` writes them.

node-exporter on a node serves the metrics. The thresholds are those of `bongsu nodes watch`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from edge.nodes import Node, SshAddress
from edge.state_file import write_private
from edge.watch import CLOCK_S, DISK_FREE_SHARE, HOT_CELSIUS

TARGETS_FILE = "bongsu-nodes.json"
RULES_FILE = "bongsu-nodes.rules.yaml"
JOB = "bongsu-nodes"
"""`job_name` of the scrape configuration that reads the targets."""


def targets(nodes: Sequence[Node], port: int) -> list[dict[str, Any]]:
    """A group for Prometheus' file service discovery, for each SSH node."""
    groups = []
    for node in nodes:
        if node.ssh is None or node.revoked_at is not None:
            continue
        host = SshAddress.parse(node.ssh).host
        labels = {"job": JOB, "node": node.name}
        if node.place is not None:
            labels |= {"region": node.place.region, "place": node.place.name}
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        groups.append({"targets": [address], "labels": {k: v for k, v in labels.items() if v}})
    return groups


def rules() -> dict[str, Any]:
    """The alerts, as a rule file."""
    of = f'{{job="{JOB}"}}'
    disk = f'{{job="{JOB}",fstype!~"tmpfs|overlay|squashfs|ramfs"}}'
    return {
        "groups": [
            {
                "name": JOB,
                "rules": [
                    _rule("NodeDown", f"up{of} == 0", "2m", "critical", "does not answer"),
                    _rule(
                        "NodeHot",
                        f"max by (node, region) (node_hwmon_temp_celsius{of} or node_thermal_zone_temp{of}) "
                        f"> {HOT_CELSIUS:g}",
                        "5m", "warning", "is at {{ $value }} degrees Celsius",
                    ),
                    _rule(
                        "NodeDiskFull",
                        f"min by (node, region) (node_filesystem_avail_bytes{disk} / node_filesystem_size_bytes{disk}) "
                        f"< {DISK_FREE_SHARE:g}",
                        "5m", "warning", "has {{ $value | humanizePercentage }} of a disk left",
                    ),
                    _rule(
                        "NodeClockWrong",
                        f"abs(node_time_seconds{of} - timestamp(node_time_seconds{of})) > {CLOCK_S:g}",
                        "2m", "warning", "has a clock that is {{ $value }} s wrong",
                    ),
                ],
            }
        ]
    }  # fmt: skip


def write_files(folder: Path, nodes: Sequence[Node], port: int) -> list[Path]:
    """Write both files atomically, readable by all; Prometheus reads the targets again when they change."""
    files = {
        TARGETS_FILE: json.dumps(targets(nodes, port), indent=2) + "\n",
        RULES_FILE: yaml.safe_dump(rules(), sort_keys=False, width=120),
    }
    for name, content in files.items():
        write_private(folder / name, content.encode())
        (folder / name).chmod(0o644)
    return [folder / name for name in files]


def _rule(name: str, expression: str, lasting: str, severity: str, what: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": f"{{{{ $labels.node }}}} {what}"},
    }
