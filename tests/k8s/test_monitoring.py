"""Rules and dashboards: they ask only for what exists, and lose nothing of functions that live for seconds."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from functions.topology import DEAD, MOTION, delay_name, queue
from local.manifest import read_workloads
from tests.k8s.conftest import ROOT, load_script

FOLDER = ROOT / "k8s/components/monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("dashboards/*.json"))}
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
QUERIES = [rule["expr"] for rule in ALERTS]
QUERIES += [t["expr"] for d in DASHBOARDS.values() for panel in d["panels"] for t in panel["targets"]]

# What RabbitMQ's own rabbitmq_prometheus plugin serves of each queue, and Prometheus of each target.
OTHERS = {
    "rabbitmq_queue_messages": {"queue"},
    "rabbitmq_queue_messages_ready": {"queue"},
    "rabbitmq_queue_messages_unacked": {"queue"},
    "rabbitmq_queue_consumers": {"queue"},
    "up": set[str](),
}
TARGET_LABELS = {"workload", "pod", "node"}


def metrics_of_the_code() -> dict[str, set[str]]:
    """Every metric that a room makes, with its labels, under each name that Prometheus gives it."""
    found: dict[str, set[str]] = {}
    for room in ("functions", "motion", "detect", "notify", "local"):
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
    names = set(re.findall(r"\b(?:bongsu|rabbitmq)_[a-z_]+", bare)) | ({"up"} & set(re.findall(r"\w+", bare)))
    assert names
    assert names <= set(METRICS)
    labels = set(re.findall(r"(\w+)\s*=~?\s*\"\"", bare))
    for grouped in re.findall(r"\bby \(([^)]*)\)|\bon \(([^)]*)\)", bare):
        labels |= {label.strip() for group in grouped for label in group.split(",") if label.strip()}
    known = set.union(*(METRICS[name] for name in names)) | TARGET_LABELS
    assert labels <= known, f"no metric here has {labels - known}"


@pytest.mark.parametrize(
    "rule", [rule for group in RULES["groups"] for rule in group["rules"]], ids=lambda r: r["alert"]
)
def test_an_alert_says_what_happened_with_labels_that_its_query_keeps(rule: dict[str, object]) -> None:
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


def test_every_queue_is_looked_at_by_the_alert_for_those_that_nobody_reads() -> None:
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
    assert f'queue="{DEAD}"' in str(RULES)


def test_a_function_is_scraped_after_its_last_event_before_it_goes_to_sleep() -> None:
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


def test_what_sleeping_functions_counted_is_kept_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "rules.yaml", tmp_path)
    (tmp_path / "cases.yaml").write_text(CASES)
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
    alert_rule_test:
      - {eval_time: 1m, alertname: BrokerDown, exp_alerts: []}
      - {eval_time: 1m, alertname: CameraSilent, exp_alerts: []}
      - {eval_time: 1m, alertname: DeadLetters, exp_alerts: []}
      - eval_time: 6m
        alertname: BrokerDown
        exp_alerts:
          - exp_labels: {severity: page}
            exp_annotations:
              summary: >-
                RabbitMQ has not answered for a minute; motion keeps its newest bursts and nobody is told of anything.
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
"""
