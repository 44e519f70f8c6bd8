"""Metrics of the nodes, from the samples of `service.py`: so Prometheus watches nodes that have no node-exporter.

The label is `edge_node`: `node` is the one that the service itself runs on, in Prometheus' words.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Gauge

from edge.watch import Sample

ALERTS = ("NodeDown", "NodeHot", "NodeDiskFull", "NodeClockWrong")

node_up = Gauge(
    "bongsu_node_up", "Whether a node answered when it was last asked", ["edge_node"], multiprocess_mode="mostrecent"
)
node_alert = Gauge(
    "bongsu_node_alert",
    "Whether something is wrong with a node, by the alert's name",
    ["edge_node", "alert"],
    multiprocess_mode="mostrecent",
)
node_latency = Gauge(
    "bongsu_node_latency_seconds",
    "How long a connection to a node takes to open",
    ["edge_node"],
    multiprocess_mode="mostrecent",
)
node_drift = Gauge(
    "bongsu_node_clock_drift_seconds",
    "How far the clock of a node is ahead",
    ["edge_node"],
    multiprocess_mode="mostrecent",
)


def show(samples: Mapping[str, Sample], removed: set[str]) -> None:
    """Set what `/metrics` serves.

    Args:
        samples: The newest of each node.
        removed: Nodes that were shown before and are gone.
    """
    for name in removed:
        for metric in (node_up, node_latency, node_drift):
            metric.remove(name)
        for alert in ALERTS:
            node_alert.remove(name, alert)
    for name, sample in samples.items():
        node_up.labels(name).set("NodeDown" not in sample.alerts)
        for alert in ALERTS:
            node_alert.labels(name, alert).set(alert in sample.alerts)
        node_latency.labels(name).set(sample.latency_s or 0.0)
        node_drift.labels(name).set(sample.drift_s or 0.0)
