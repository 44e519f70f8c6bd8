"""Writes the Grafana dashboards into this file's folder: `python3 k8s/components/monitoring/dashboards.py`.

A dashboard is a list of panels; a panel has a title, a unit and queries, and its position is computed here. Counters of
functions are read with max_over_time and summed over replicas, for the reason in rules.yaml.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "dashboards"


@dataclass(frozen=True)
class Panel:
    """One graph, or one number where `is_number`; `queries` are pairs of expression and legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    tells: str = ""
    width: int = 12
    is_number: bool = False


def _quantile(q: float, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({q}, sum by (le, {by}) (max_over_time({metric}_bucket{where}[$__range])))"


def _total(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (max_over_time({metric}{where}[$__range]))"


RELAY = (
    Panel("Dead letters", "short", (('rabbitmq_queue_messages{queue="bongsu.dead"}', ""),), width=4, is_number=True),
    Panel(
        "Bursts waiting",
        "short",
        (('rabbitmq_queue_messages_ready{queue=~"motion([.].+)?"}', "{{queue}}"),),
        width=4,
        is_number=True,
    ),
    Panel("Cameras live", "short", (("sum(bongsu_camera_up)", ""),), width=4, is_number=True),
    Panel(
        "Hazards confirmed",
        "short",
        ((_total("bongsu_hazards_confirmed_total", "type"), "{{type}}"),),
        width=6,
        is_number=True,
    ),
    Panel(
        "Posts",
        "short",
        ((_total("bongsu_posts_total", "channel, outcome"), "{{channel}} {{outcome}}"),),
        width=6,
        is_number=True,
    ),
    Panel(
        "Replicas",
        "short",
        (('count by (workload) (up{workload=~"detect(-.+)?|map|caption|post"} == 1)', "{{workload}}"),),
        "What KEDA has running; nothing is drawn where a function sleeps.",
    ),
    Panel(
        "Queues: waiting and in work",
        "short",
        (
            ("rabbitmq_queue_messages_ready > 0", "{{queue}} waiting"),
            ("rabbitmq_queue_messages_unacked > 0", "{{queue}} in work"),
        ),
    ),
    Panel(
        "From frame to handled, p50 and p95",
        "s",
        (
            (_quantile(0.5, "bongsu_event_age_seconds", "function"), "{{function}} p50"),
            (_quantile(0.95, "bongsu_event_age_seconds", "function"), "{{function}} p95"),
        ),
        "Over the range that is shown. `post` is the whole way: from the first frame to the post.",
    ),
    Panel(
        "Time in each stage, p95",
        "s",
        ((_quantile(0.95, "bongsu_stage_duration_seconds", "stage, phase"), "{{stage}} {{phase}}"),),
    ),
    Panel(
        "Cold starts, p50 and p95",
        "s",
        (
            (_quantile(0.5, "bongsu_cold_start_seconds", "function"), "{{function}} p50"),
            (_quantile(0.95, "bongsu_cold_start_seconds", "function"), "{{function}} p95"),
        ),
        "From the start of the process to its first handler call; the pod's own start comes before.",
    ),
    Panel(
        "Events by outcome",
        "short",
        ((_total("bongsu_events_handled_total", "function, outcome"), "{{function}} {{outcome}}"),),
    ),
    Panel("Handlers, p95", "s", ((_quantile(0.95, "bongsu_handler_duration_seconds", "function"), "{{function}}"),)),
    Panel("Networks, p95", "s", ((_quantile(0.95, "bongsu_inference_duration_seconds", "network"), "{{network}}"),)),
    Panel("Readers of the live stream", "short", (("sum(bongsu_stream_readers)", "open"),)),
    Panel("Pictures redacted", "short", ((_total("bongsu_redactions_total", "outcome"), "{{outcome}}"),)),
)

CAMERAS = (
    Panel("Live", "short", (("sum(bongsu_camera_up)", ""),), width=6, is_number=True),
    Panel("Lost", "short", (("count(bongsu_camera_up == 0) or vector(0)", ""),), width=6, is_number=True),
    Panel("Age of the newest frame", "s", (("bongsu_camera_last_frame_age_seconds", "{{camera}} on {{node}}"),)),
    Panel("Frames read", "cps", (("rate(bongsu_frames_read_total[1m])", "{{camera}}"),)),
    Panel(
        "Frames left out",
        "cps",
        (("rate(bongsu_frames_dropped_total[1m])", "{{camera}}"),),
        "Dropped to stay at the newest one: the node decodes slower than the camera sends.",
    ),
    Panel("Bursts a minute", "short", (("60 * rate(bongsu_motion_bursts_total[2m])", "{{camera}}"),)),
    Panel("Bursts lost", "short", (("increase(bongsu_motion_bursts_lost_total[5m])", "{{camera}}"),)),
    Panel("Reconnects", "short", (("increase(bongsu_camera_reconnects_total[5m])", "{{camera}}"),)),
    Panel(
        "Refused by the broker",
        "short",
        (("sum by (node) (increase(bongsu_motion_publish_failures_total[5m]))", "{{node}}"),),
    ),
)


def _named(expression: str) -> str:
    """A query over node-exporter, by the node's name and not its address."""
    return f"({expression}) * on (instance) group_left (nodename) node_uname_info"


NODES = (
    Panel(
        "CPU",
        "percentunit",
        ((_named('1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m]))'), "{{nodename}}"),),
    ),
    Panel(
        "Memory",
        "percentunit",
        ((_named("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"), "{{nodename}}"),),
    ),
    Panel(
        "Disks",
        "percentunit",
        (
            (
                _named("1 - min by (instance) (node_filesystem_avail_bytes / node_filesystem_size_bytes)"),
                "{{nodename}}",
            ),
        ),
        "The fullest disk of each node.",
    ),
    Panel(
        "Temperature",
        "celsius",
        ((_named("max by (instance) (node_hwmon_temp_celsius)"), "{{nodename}}"),),
        "The hottest sensor of each node; a virtual machine has none.",
    ),
    Panel(
        "Network in",
        "Bps",
        ((_named('sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[1m]))'), "{{nodename}}"),),
        "On an edge node: what its cameras send.",
    ),
    Panel(
        "Network out",
        "Bps",
        ((_named('sum by (instance) (rate(node_network_transmit_bytes_total{device!="lo"}[1m]))'), "{{nodename}}"),),
        "On an edge node: its bursts.",
    ),
    Panel(
        "Cameras of another node",
        "short",
        (("sum by (node) (bongsu_cameras_taken_over)", "{{node}}"),),
        "Read here because their own node is away.",
    ),
    Panel("Cameras that nobody reads", "short", (("max(bongsu_cameras_unread)", "cameras"),)),
    Panel(
        "Edge nodes that answer",
        "short",
        (("bongsu_node_up", "{{edge_node}}"),),
        "Those of `bongsu nodes`, asked over SSH by `bongsu fleet serve`: 1 answers, 0 does not.",
    ),
    Panel(
        "What is wrong with edge nodes",
        "short",
        (("bongsu_node_alert > 0", "{{edge_node}} {{alert}}"),),
        "Nothing is drawn where all is well.",
    ),
    Panel("Latency to edge nodes", "s", (("bongsu_node_latency_seconds", "{{edge_node}}"),)),
    Panel("Clocks of edge nodes", "s", (("bongsu_node_clock_drift_seconds", "{{edge_node}}"),), "How far ahead."),
)

# The shared detector: those of regions run on the processors of their sites.
_AWAKE = 'count(up{workload="detect"} == 1)'
_AWAKE_S = f"(15 * count_over_time({_AWAKE}[$__range:15s]) or vector(0))"

GPU = (
    Panel(
        "GPU-seconds with a detector",
        "s",
        ((_AWAKE_S, ""),),
        "Seconds in which one or more replicas ran.",
        width=6,
        is_number=True,
    ),
    Panel("Always on", "s", (("vector($__range_s)", ""),), "The same seconds, had it never slept.", 6, True),
    Panel("Saved", "percentunit", ((f"1 - {_AWAKE_S} / $__range_s", ""),), width=6, is_number=True),
    Panel(
        "Saved, at most",
        "kwatth",
        (
            (
                f"sum(avg_over_time((DCGM_FI_DEV_POWER_USAGE and on () ({_AWAKE}))[$__range:15s])"
                " - avg_over_time(DCGM_FI_DEV_POWER_USAGE[$__range])) * $__range_s / 3.6e6",
                "",
            ),
        ),
        "As if a detector that never sleeps drew all the time what the card draws while one is awake; one that waits "
        "for work draws less than one at work.",
        6,
        True,
    ),
    Panel("Power", "watt", (("DCGM_FI_DEV_POWER_USAGE", "{{Hostname}} {{gpu}}"),)),
    Panel("Temperature", "celsius", (("DCGM_FI_DEV_GPU_TEMP", "{{Hostname}} {{gpu}}"),)),
    Panel("Busy", "percent", (("DCGM_FI_DEV_GPU_UTIL", "{{Hostname}} {{gpu}}"),)),
    Panel("Memory in use", "decmbytes", (("DCGM_FI_DEV_FB_USED", "{{Hostname}} {{gpu}}"),)),
    Panel("Detectors awake", "short", ((f"{_AWAKE} or vector(0)", "replicas"),)),
    Panel(
        "KEDA's errors",
        "short",
        (("sum by (scaledObject) (increase(keda_scaled_object_errors_total[5m]))", "{{scaledObject}}"),),
    ),
)

SESSIONS = (
    Panel(
        "Sessions",
        "short",
        (("sum by (state) (max by (kind, state) (bongsu_sessions))", "{{state}}"),),
        width=8,
        is_number=True,
    ),
    Panel(
        "Idle workers", "short", (("max by (kind) (bongsu_session_idle_workers)", "{{kind}}"),), width=8, is_number=True
    ),
    Panel("Connections", "short", (("sum(bongsu_session_connections)", ""),), width=4, is_number=True),
    Panel("Leaked workers", "short", (("max(bongsu_session_leaked_workers)", ""),), width=4, is_number=True),
    Panel(
        "Request to ready, p95",
        "s",
        (
            (
                "histogram_quantile(0.95, sum by (le, kind) (rate(bongsu_session_start_seconds_bucket[5m])))",
                "{{kind}}",
            ),
        ),
    ),
    Panel("Sessions by kind", "short", (("max by (kind, state) (bongsu_sessions)", "{{kind}} {{state}}"),)),
    Panel(
        "Asked for and ended, a minute",
        "short",
        (
            ("sum(rate(bongsu_sessions_opened_total[5m])) * 60", "asked for"),
            ("sum by (reason) (rate(bongsu_sessions_ended_total[5m])) * 60", "{{reason}}"),
        ),
    ),
    Panel(
        "Passed upstream, a minute",
        "short",
        (("sum by (outcome) (rate(bongsu_sessions_offloaded_total[5m])) * 60", "{{outcome}}"),),
    ),
    # Each receive server sees all sessions.
    Panel(
        "Messages answered, a second",
        "short",
        (("max by (kind) (rate(bongsu_session_messages_total[5m]))", "{{kind}}"),),
    ),
    Panel(
        "A message's latency, slowest session",
        "s",
        (("max by (kind, quantile) (bongsu_session_latency_seconds)", "{{kind}} {{quantile}}"),),
    ),
    Panel(
        "Moved from workers that ended, a minute",
        "short",
        (("sum by (outcome) (rate(bongsu_sessions_moved_total[5m])) * 60", "{{outcome}}"),),
    ),
)

DASHBOARDS = {
    "relay": ("Relay", RELAY),
    "cameras": ("Cameras", CAMERAS),
    "nodes": ("Nodes", NODES),
    "gpu": ("GPU", GPU),
    "sessions": ("Sessions", SESSIONS),
}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    title, panels = DASHBOARDS[name]
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y, height = 0, y + height, 0
        tall = 4 if panel.is_number else 8
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": tall}))
        x, height = x + panel.width, max(height, tall)
    return {
        "uid": f"bongsu-{name}",
        "title": title,
        "tags": ["bongsu"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": placed,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.tells,
        "type": "stat" if panel.is_number else "timeseries",
        "gridPos": place,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + at), "datasource": source, "expr": expression, "legendFormat": legend or "__auto"}
            for at, (expression, legend) in enumerate(panel.queries)
        ],
    }


def main() -> None:
    """Write all of them."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
