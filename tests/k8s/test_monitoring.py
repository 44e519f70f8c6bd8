"""Rules and dashboards: they ask only for what exists, and lose nothing of functions that live for seconds."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.topology import DEAD, MOTION, REGION_WAIT_S, delay_name, queue
from local.manifest import read_workloads
from tests.k8s.conftest import ROOT, load_script
from tests.rooms import ROOMS

FOLDER = ROOT / "k8s/components/monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("dashboards/*.json"))}
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
QUERIES = [rule["expr"] for rule in ALERTS]
QUERIES += [t["expr"] for d in DASHBOARDS.values() for panel in d["panels"] for t in panel["targets"]]

# What others serve: RabbitMQ's own rabbitmq_prometheus plugin of each queue, Prometheus of each target, KEDA's
# operator, and the exporters of k8s/cluster for nodes and GPUs.
OTHERS = {
    "rabbitmq_queue_messages": {"queue"},
    "rabbitmq_queue_messages_ready": {"queue"},
    "rabbitmq_queue_messages_unacked": {"queue"},
    "rabbitmq_queue_consumers": {"queue"},
    "up": {"job"},
    "keda_scaled_object_errors_total": {"namespace", "scaledObject"},
    "node_cpu_seconds_total": {"instance", "mode"},
    "node_memory_MemAvailable_bytes": {"instance"},
    "node_memory_MemTotal_bytes": {"instance"},
    "node_filesystem_avail_bytes": {"instance", "mountpoint"},
    "node_filesystem_size_bytes": {"instance", "mountpoint"},
    "node_hwmon_temp_celsius": {"instance"},
    "node_network_receive_bytes_total": {"instance", "device"},
    "node_network_transmit_bytes_total": {"instance", "device"},
    "node_uname_info": {"instance", "nodename"},
    "DCGM_FI_DEV_POWER_USAGE": {"gpu", "Hostname"},
    "DCGM_FI_DEV_GPU_TEMP": {"gpu", "Hostname"},
    "DCGM_FI_DEV_GPU_UTIL": {"gpu", "Hostname"},
    "DCGM_FI_DEV_FB_USED": {"gpu", "Hostname"},
}
TARGET_LABELS = {"workload", "pod", "node"}


def metrics_of_the_code() -> dict[str, set[str]]:
    """Every metric that a room makes, with its labels, under each name that Prometheus gives it."""
    found: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args):
                    continue
                name = getattr(call.args[0], "value", None)
                if call.func.id not in ("Counter", "Gauge", "Histogram") or not str(name).startswith("bongsu_"):
                    continue
                labels = set(ast.literal_eval(call.args[2])) if len(call.args) > 2 else set()
                if call.func.id == "Histogram":
                    found |= {f"{name}_{end}": labels for end in ("count", "sum")}
                    found[f"{name}_bucket"] = labels | {"le"}
                else:
                    found[name] = labels
    return found


METRICS = {**metrics_of_the_code(), **OTHERS}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_only_metrics_and_labels_that_exist(query: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', query)
    names = set(re.findall(r"\b(?:bongsu|rabbitmq|keda|node|DCGM)_\w+", bare)) | (
        {"up"} & set(re.findall(r"\w+", bare))
    )
    assert names or query == "vector($__range_s)"
    assert names <= set(METRICS)
    labels = set(re.findall(r"(\w+)\s*=~?\s*\"\"", bare))
    for grouped in re.findall(r"\bby \(([^)]*)\)|\bon \(([^)]*)\)", bare):
        labels |= {label.strip() for group in grouped for label in group.split(",") if label.strip()}
    known = set[str]().union(*(METRICS[name] for name in names)) | TARGET_LABELS
    assert labels <= known, f"no metric here has {labels - known}"


@pytest.mark.parametrize(
    "rule", [rule for group in RULES["groups"] for rule in group["rules"]], ids=lambda r: r["alert"]
)
def test_alert_rule_uses_only_labels_its_query_keeps(rule: dict[str, object]) -> None:
    text = str(rule["annotations"])
    assert "summary" in text
    for label in re.findall(r"\$labels\.(\w+)", text):
        assert any(label in labels for name, labels in METRICS.items() if name in str(rule["expr"]))
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})


def test_the_dashboards_are_those_that_the_script_writes() -> None:
    script = load_script(FOLDER / "dashboards.py")
    assert {name: script.dashboard(name) for name in script.DASHBOARDS} == DASHBOARDS, "run dashboards.py"


def test_panels_do_not_overlap() -> None:
    for name, dashboard in DASHBOARDS.items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
            assert not cells & taken, f"{name}: {panel['title']}"
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_unread_queue_alert_watches_every_queue() -> None:
    (rule,) = [r for r in ALERTS if r["alert"] == "NobodyWakes"]
    (pattern,) = re.findall(r'queue=~"([^"]+)"', rule["expr"])
    for workload in read_workloads(ROOT / "keda"):
        assert all(re.fullmatch(pattern, name) for name in workload.rule.queues)
    assert not any(re.fullmatch(pattern, name) for name in (DEAD, delay_name(5)))


def test_the_motion_queue_is_called_saturated_before_it_drops() -> None:
    (rule,) = [r for r in ALERTS if r["alert"] == "MotionQueueSaturated"]
    limit = queue(MOTION).max_length
    assert limit is not None
    assert int(rule["expr"].rpartition(">")[2]) < limit
    assert str(limit) in rule["annotations"]["summary"]
    (pattern,) = re.findall(r'queue=~"([^"]+)"', rule["expr"])
    assert all(re.fullmatch(pattern, name) for name in (MOTION, "motion.seoul"))
    assert f'queue="{DEAD}"' in str(RULES)


def test_region_without_a_detector_is_reported() -> None:
    (rule,) = [r for r in ALERTS if r["alert"] == "RegionUnserved"]
    (pattern,) = re.findall(r'queue=~"([^"]+)"', rule["expr"])
    (wakes,) = [r["expr"] for r in ALERTS if r["alert"] == "NobodyWakes"]
    assert re.fullmatch(pattern, "motion.seoul")
    assert not re.fullmatch(pattern, MOTION)
    assert not re.fullmatch(re.findall(r'queue=~"([^"]+)"', wakes)[0], "motion.seoul")
    assert f"{REGION_WAIT_S:.0f} seconds" in rule["annotations"]["summary"]


def test_function_is_scraped_before_it_sleeps() -> None:
    interval = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]["scrape_interval"]
    for workload in read_workloads(ROOT / "keda"):
        assert 2 * float(interval.removesuffix("s")) < workload.rule.cooldown_s


def promtool(*arguments: str | Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_the_rules() -> None:
    promtool("check", "rules", FOLDER / "rules.yaml")


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    # Debian's promtool is built without Kubernetes.
    for job in config["scrape_configs"]:
        job.pop("kubernetes_sd_configs", None)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")


def test_cluster_scoped_objects_are_checked_in_place() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    asked = {
        (name, sd["port"])
        for job in config["scrape_configs"]
        for sd in job.get("dns_sd_configs", [])
        for name in sd["names"]
    }
    paths = (*(ROOT / "k8s/cluster").glob("*.yaml"), ROOT / "k8s/sessions/server.yaml")
    documents = [d for path in paths for d in yaml.safe_load_all(path.read_text())]
    served = {
        (f"{d['metadata']['name']}.{d['metadata']['namespace']}.svc", d["spec"]["ports"][0]["targetPort"])
        for d in documents
        if _is_looked_up(d)
    }
    assert asked == served
    assert all(d["spec"]["clusterIP"] == "None" for d in documents if _is_looked_up(d))  # else one node answers


def _is_looked_up(document: dict[str, Any]) -> bool:
    """Whether Prometheus finds pods by it; the Service `sessions` is for clients."""
    return document["kind"] == "Service" and document["metadata"]["name"] != "sessions"


def test_prometheus_accepts_every_query_of_a_dashboard(tmp_path: Path) -> None:
    # As rules, in which Grafana's own variables must be numbers.
    queries = [q.replace("$__range_s", "3600").replace("$__range", "1h") for q in QUERIES]
    rules = [{"record": f"q{i}", "expr": query} for i, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_the_dashboards_are_all_given_to_grafana() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    given = {g["name"]: g["files"] for g in kustomization["configMapGenerator"]}["grafana-dashboards"]
    assert sorted(given) == sorted(f"dashboards/{name}.json" for name in DASHBOARDS)


def test_sleeping_functions_counters_are_kept(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "rules.yaml", tmp_path)
    cases = CASES.replace("AWAKE", query_of("GPU-seconds with a detector"))
    (tmp_path / "cases.yaml").write_text(cases.replace("SAVED_KWH", f"round({query_of('Saved, at most')}, 0.01)"))
    promtool("test", "rules", tmp_path / "cases.yaml")


# Two replicas that lived for half a minute each: the first was seen at 3 and 5, the second only at 4. `increase` would
# find 2 or so; the dashboards' query finds all 9, long after both are gone.
CASES = """
rule_files: [rules.yaml]
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - {series: 'bongsu_posts_total{channel="feed",outcome="posted",pod="post-a"}', values: '3 5 5 stale'}
      - {series: 'bongsu_posts_total{channel="feed",outcome="posted",pod="post-b"}', values: '_ _ _ _ _ _ 4 4 stale'}
    promql_expr_test:
      - expr: sum by (channel) (max_over_time(bongsu_posts_total[1h]))
        eval_time: 30m
        exp_samples: [{labels: '{channel="feed"}', value: 9}]
  - interval: 10s
    input_series:
      - {series: 'up{workload="rabbitmq"}', values: '1x12 0x60'}
      - {series: 'up{workload="motion"}', values: '1x72'}
      - {series: 'bongsu_camera_last_frame_age_seconds{camera="gate-1"}', values: '1x12 10+10x60'}
      - {series: 'bongsu_camera_last_frame_age_seconds{camera="gate-2"}', values: '1x72'}
      - {series: 'rabbitmq_queue_messages{queue="bongsu.dead"}', values: '0x12 2x60'}
      - {series: 'rabbitmq_queue_messages_ready{queue="fire.post"}', values: '0x12 3x60'}
      - {series: 'rabbitmq_queue_consumers{queue="fire.post"}', values: '0x72'}
      - {series: 'rabbitmq_queue_messages_ready{queue="fire.map"}', values: '3x72'}
      - {series: 'rabbitmq_queue_consumers{queue="fire.map"}', values: '1x72'}
      - {series: 'rabbitmq_queue_messages_ready{queue="motion.seoul"}', values: '0x12 5x60'}
      - {series: 'rabbitmq_queue_consumers{queue="motion.seoul"}', values: '0x72'}
      - {series: 'rabbitmq_queue_messages_ready{queue="motion.incheon"}', values: '5x72'}
      - {series: 'rabbitmq_queue_consumers{queue="motion.incheon"}', values: '1x72'}
      - {series: 'bongsu_cameras_unread{node="edge-1"}', values: '0x12 2x60'}
      - {series: 'bongsu_cameras_unread{node="edge-2"}', values: '0x12 2x60'}
      - {series: 'keda_scaled_object_errors_total{namespace="bongsu",scaledObject="post"}', values: '0x12 1+1x60'}
      - {series: 'keda_scaled_object_errors_total{namespace="bongsu",scaledObject="map"}', values: '7x72'}
      - {series: 'keda_scaled_object_errors_total{namespace="other",scaledObject="x"}', values: '0+1x72'}
      - {series: 'up{job="keda"}', values: '1x12 stale'}
      - {series: 'DCGM_FI_DEV_GPU_TEMP{gpu="0",Hostname="gpu-1"}', values: '60x3 91x69'}
      - {series: 'DCGM_FI_DEV_GPU_TEMP{gpu="1",Hostname="gpu-1"}', values: '60x3 91x12 70x57'}
    alert_rule_test:
      - {eval_time: 1m, alertname: KedaDown, exp_alerts: []}
      - {eval_time: 1m, alertname: KedaErrors, exp_alerts: []}
      - eval_time: 6m
        alertname: RegionUnserved
        exp_alerts:
          - exp_labels: {severity: ticket, queue: motion.seoul}
            exp_annotations:
              summary: No detector reads motion.seoul; its bursts go to the shared one, 10 seconds late.
      - eval_time: 6m
        alertname: CameraUnread
        exp_alerts:
          - exp_labels: {severity: page}
            exp_annotations:
              summary: >-
                2 cameras are read by nobody: their edge node is down, and so is every other of their region.
      - eval_time: 6m
        alertname: KedaErrors
        exp_alerts:
          - exp_labels: {severity: page, scaledObject: post}
            exp_annotations:
              summary: >-
                KEDA cannot tell how much waits for post: kubectl describe -n bongsu scaledobject post
      - eval_time: 6m
        alertname: KedaDown
        exp_alerts:
          - exp_labels: {severity: page}
            exp_annotations: {summary: KEDA does not answer; functions that sleep are not woken.}
      - eval_time: 6m
        alertname: GpuHot
        exp_alerts:
          - exp_labels: {severity: ticket, gpu: "0", Hostname: gpu-1}
            exp_annotations: {summary: GPU 0 of gpu-1 is at 91 degrees.}
      - {eval_time: 1m, alertname: BrokerDown, exp_alerts: []}
      - {eval_time: 1m, alertname: CameraSilent, exp_alerts: []}
      - {eval_time: 1m, alertname: DeadLetters, exp_alerts: []}
      - eval_time: 6m
        alertname: BrokerDown
        exp_alerts:
          - exp_labels: {severity: page}
            exp_annotations:
              summary: >-
                RabbitMQ has not answered for a minute; motion keeps its newest bursts and no alert goes out.
      - eval_time: 6m
        alertname: CameraSilent
        exp_alerts:
          - exp_labels: {severity: page, camera: gate-1}
            exp_annotations: {summary: No frame from camera gate-1 for 4m 0s.}
      - eval_time: 6m
        alertname: DeadLetters
        exp_alerts:
          - exp_labels: {severity: ticket, queue: bongsu.dead}
            exp_annotations: {summary: "2 dead letters: bongsu dead list says whose and why."}
      - eval_time: 6m
        alertname: NobodyWakes
        exp_alerts:
          - exp_labels: {severity: page, queue: fire.post}
            exp_annotations: {summary: "Messages wait in fire.post and nobody reads it: is KEDA well?"}
  # Where KEDA was never looked at it is not said to be down.
  - interval: 10s
    input_series:
      - {series: 'up{workload="rabbitmq"}', values: '1x72'}
    alert_rule_test:
      - {eval_time: 6m, alertname: KedaDown, exp_alerts: []}
  # A detector that was awake for a quarter of an hour, while the card drew 200 W and not 40.
  - interval: 15s
    input_series:
      - {series: 'up{workload="detect",pod="detect-a"}', values: '_x179 1x59 stale'}
      - {series: 'DCGM_FI_DEV_POWER_USAGE{gpu="0"}', values: '40x179 200x59 40'}
    promql_expr_test:
      - expr: AWAKE
        eval_time: 1h
        exp_samples: [{labels: "{}", value: 900}]
      - expr: SAVED_KWH
        eval_time: 1h
        exp_samples: [{labels: "{}", value: 0.12}]
"""


def query_of(panel: str) -> str:
    (found,) = [p["targets"][0]["expr"] for p in DASHBOARDS["gpu"]["panels"] if p["title"] == panel]
    return str(found).replace("$__range_s", "3600").replace("$__range", "1h")
