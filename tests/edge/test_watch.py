"""Story 2: how nodes are, over real SSH; what Prometheus scrapes and what it alerts to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from edge.prometheus import RULES_FILE, rules
from edge.watch import Gpu, Health, History, Sample
from tests.edge.conftest import Fleet
from tests.edge.servers import SEARCHED, SshNode
from tests.edge.test_deploy_to_nodes import add
from tests.servers import free_port

NewNode = Callable[..., SshNode]
GIB = 1 << 30


def health(**changed: object) -> Health:
    facts: dict[str, object] = {
        "cpu": 0.1, "load": 0.5, "memory_bytes": 4 * GIB, "memory_free_bytes": GIB, "disk_bytes": 100,
        "disk_free_bytes": 50, "received_bytes_per_s": 0.0,
        "sent_bytes_per_s": 0.0, "uptime_s": 1.0, "temperature": 40.0,
    }  # fmt: skip
    return Health(**{**facts, **changed})  # type: ignore[arg-type]


@pytest.mark.connected
def test_nodes_are_watched_and_one_that_is_gone_is_down(fleet: Fleet, new_node: NewNode) -> None:
    gate, mill = new_node("gate"), new_node("mill")
    add(fleet, gate, "gate-1")
    add(fleet, mill, "mill-1")
    samples = {
        s["node"]: s for s in map(json.loads, fleet.run("nodes", "watch", "--once", "--json").stdout.splitlines())
    }
    now = samples["gate-1"]["health"]
    assert 0 <= now["cpu"] <= 1
    assert now["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert now["disk_bytes"] == shutil.disk_usage(gate.user_home).total
    assert abs(samples["gate-1"]["drift_s"]) < 2  # the same clock
    assert samples["gate-1"]["latency_s"] > 0

    mill.kill()
    done = fleet.run("nodes", "watch", "--once")
    assert done.returncode == 1
    assert next(line for line in done.stdout.splitlines() if line.startswith("mill-1")).endswith("NodeDown")
    assert "cannot be reached" in done.stderr
    past = [json.loads(line) for line in fleet.ok("nodes", "history", "mill-1", "--json").splitlines()]
    assert [sample["alerts"][:1] == ["NodeDown"] for sample in past] == [False, True]
    assert "gate-1" in fleet.ok("nodes", "history", "gate-1")


@pytest.mark.connected
def test_the_end_of_a_nodes_journal_is_printed(fleet: Fleet, new_node: NewNode) -> None:
    if shutil.which("journalctl") is None:
        pytest.skip("no journalctl: apt-get install systemd")
    add(fleet, new_node("gate"), "gate-1")
    said = fleet.ok("nodes", "logs", "gate-1", "--lines", "5", "--unit", "no\x1bunit")
    assert said  # the entries, or that there are none
    assert "\x1b" not in said
    assert "no node 'attic'" in fleet.refused("nodes", "logs", "attic")


@pytest.mark.parametrize(
    ("sample", "alerts"),
    [
        ({"health": health()}, []),
        ({"error": "gone"}, ["NodeDown"]),
        ({"health": health(temperature=90.0)}, ["NodeHot"]),
        ({"health": health(gpu=Gpu(0.5, 1.0, 2.0, 95.0))}, ["NodeHot"]),
        ({"health": health(disk_free_bytes=9)}, ["NodeDiskFull"]),
        ({"health": health(), "drift_s": -6.0}, ["NodeClockWrong"]),
    ],
)
def test_what_is_wrong_has_a_name(sample: dict[str, object], alerts: list[str]) -> None:
    assert Sample(node="n", at=datetime.now(UTC), **sample).alerts == alerts  # type: ignore[arg-type]


def test_the_past_is_bounded_and_survives_a_torn_line(tmp_path: Path) -> None:
    history = History(tmp_path, max_bytes=2000)
    for number in range(100):
        history.add(Sample(node="n", at=datetime.fromtimestamp(number, UTC), error="gone"))
    with (tmp_path / "history/n.jsonl").open("ab") as file:
        file.write(b'{"node": "n", "at')
    assert sum(f.stat().st_size for f in (tmp_path / "history").iterdir()) < 5000
    assert [s.at.timestamp() for s in history.last("n", 4)] == [97, 98, 99]


def promtool(*arguments: str | Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: apt-get install prometheus")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_raises_each_alert(tmp_path: Path) -> None:
    (tmp_path / RULES_FILE).write_text(yaml.safe_dump(rules()))
    promtool("check", "rules", tmp_path / RULES_FILE)
    of = '{job="bongsu-nodes",node="gate-1",region="Seoul"}'
    disk = of.replace("}", ',mountpoint="/",fstype="ext4"}')
    series = {
        f"up{of}": "0x20",
        f"node_hwmon_temp_celsius{of}": "90x20",
        f"node_filesystem_avail_bytes{disk}": "5x20",
        f"node_filesystem_size_bytes{disk}": "100x20",
        f"node_time_seconds{of}": "100+60x20",
    }
    expected = {
        "NodeDown": ("critical", "does not answer"),
        "NodeHot": ("warning", "is at 90 degrees Celsius"),
        "NodeDiskFull": ("warning", "has 5% of a disk left"),
        "NodeClockWrong": ("warning", "has a clock that is 100 s wrong"),
    }

    def alert(name: str, severity: str, said: str) -> dict[str, object]:
        labels = {"node": "gate-1", "region": "Seoul", "severity": severity}
        if name in ("NodeDown", "NodeClockWrong"):
            labels["job"] = "bongsu-nodes"
        alerts = [{"exp_labels": labels, "exp_annotations": {"summary": f"gate-1 {said}"}}]
        return {"eval_time": "10m", "alertname": name, "exp_alerts": alerts}

    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [alert(name, *rest) for name, rest in expected.items()],
        }
    ]
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"rule_files": [RULES_FILE], "tests": tests}))
    promtool("test", "rules", tmp_path / "cases.yaml")


@contextmanager
def started(*command: str | Path) -> Iterator[None]:
    program = shutil.which(str(command[0]), path=SEARCHED)
    if program is None:
        pytest.skip(f"no {command[0]}: apt-get install {command[0]}")
    process = subprocess.Popen([program, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.connected
def test_prometheus_finds_the_nodes_of_the_register(fleet: Fleet, new_node: NewNode, tmp_path: Path) -> None:
    add(fleet, new_node("gate"), "gate-1", "--place", "37.57,126.98,Gate,Seoul")
    exporter, port = free_port(), free_port()
    folder = tmp_path / "prometheus"
    fleet.ok("nodes", "prometheus", "--into", str(folder), "--port", str(exporter))
    configuration = {
        "global": {"scrape_interval": "1s"},
        "rule_files": ["*.rules.yaml"],
        "scrape_configs": [{"job_name": "bongsu-nodes", "file_sd_configs": [{"files": ["bongsu-nodes.json"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    prometheus = (
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api/v1/query?query=node_time_seconds"
    result: list[dict[str, dict[str, str]]] = []
    with started("prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{exporter}"), started(*prometheus):
        end = time.monotonic() + 60
        while not result and time.monotonic() < end:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    result = json.load(answer)["data"]["result"]
            except OSError:
                pass
            time.sleep(0.2)
    assert [(r["metric"]["node"], r["metric"]["region"]) for r in result] == [("gate-1", "Seoul")]
