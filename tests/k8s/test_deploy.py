"""`make deploy`, with a kubectl that writes down what it is asked: it checks before it acts, and waits in order."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from local.manifest import read_workloads
from tests.k8s.conftest import ROOT, Cluster, copy_of_the_manifests, fill_in

SCALED = [workload.name for workload in read_workloads(ROOT / "keda")]

KUBECTL = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
"config current-context") [ -n "$FAKE_CONTEXT" ] && echo "$FAKE_CONTEXT" ;;
"get crd"*) [ -n "$FAKE_KEDA" ] ;;
kustomize*) [ -n "$FAKE_UNRENDERED" ] && echo "error: accumulating resources" >&2 && exit 1
  if [ "$FAKE_OVERLAY" != /dev/null ]; then cat "$FAKE_OVERLAY"; exit; fi
  printf 'image: bongsu/map:0.1.0\\nimage: mariadb:11.4.8\\n  - image: bongsu/post:0.1.0\\n' ;;
"apply -f"*) for last; do :; done; cp "$last" "$ASKED.applied"; cp "$last" "$ASKED.$(basename "$last")" ;;
"create -f"*) for last; do :; done; cp "$last" "$ASKED.$(basename "$last")" ;;
"get pods"*"--no-headers"*) printf 'rabbitmq-0 0/1 Pending 0 5m\\nmysql-0 1/1 Running 0 5m\\n' ;;
"get events"*rabbitmq-0*) echo "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu." ;;
"get nodes"*) printf 'one Ready <none>\\ntwo NotReady <none>\\n' ;;
"get pods"*"spec.nodeName=two"*) echo pod/map-1 ;;
"get job topology"*) echo bongsu/function:0.1.0 ;;
"delete deployment"*) [ -z "$FAKE_STUCK" ] ;;
"get ingress"*) echo bongsu.local ;;
"rollout status"*"$FAKE_BROKEN"*) [ -z "$FAKE_BROKEN" ] ;;
esac
"""


class Site:
    """A copy of the manifests, and the fake kubectl in front of the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = copy_of_the_manifests(folder)
        self._asked = folder / "asked"
        (folder / "bin").mkdir()
        (folder / "bin/kubectl").write_text(KUBECTL)
        (folder / "bin/kubectl").chmod(0o755)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        self._asked.write_text("")
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "ASKED": str(self._asked),
            "FAKE_CONTEXT": "kind-test",
            "FAKE_KEDA": "yes",
            "FAKE_BROKEN": "",
            "FAKE_UNRENDERED": "",
            "FAKE_OVERLAY": "/dev/null",
            "FAKE_STUCK": "",
            **variables,
        }
        command = ["sh", str(self.folder / "k8s/deploy.sh"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines()

    @property
    def applied(self) -> str:
        return Path(f"{self._asked}.applied").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    fill_in(site.folder)
    return site


def test_missing_secrets_stop_it_before_the_cluster_is_touched(tmp_path: Path) -> None:
    site = Site(tmp_path)
    done = site.run("deploy", "local")
    assert done.returncode != 0
    assert "broker-caption.env is missing: make secrets ENV=local" in done.stderr
    assert site.asked == []


def test_an_unknown_overlay_names_those_there_are(site: Site) -> None:
    done = site.run("deploy", "nowhere")
    assert done.returncode != 0
    assert "no overlay 'nowhere': ENV is one of edge local" in done.stderr


@pytest.mark.parametrize(("env", "context"), [("local", "production"), ("edge", "kind-test"), ("local", "")])
def test_it_never_guesses_which_cluster_is_meant(site: Site, env: str, context: str) -> None:
    done = site.run("deploy", env, FAKE_CONTEXT=context)
    assert done.returncode != 0
    assert "context" in done.stderr
    assert not [line for line in site.asked if line.startswith(("apply", "delete"))]


def test_a_context_that_is_not_the_one_said_is_refused(site: Site) -> None:
    done = site.run("deploy", "edge", CONTEXT="seoul", FAKE_CONTEXT="busan")
    assert "kubectl's context is 'busan', not 'seoul'" in done.stderr
    assert done.returncode != 0


def test_a_cluster_without_keda_is_told_how_to_get_it(site: Site) -> None:
    done = site.run("deploy", "local", FAKE_KEDA="")
    assert done.returncode != 0
    assert "keda-2.20.2.yaml" in done.stderr
    assert not [line for line in site.asked if line.startswith("apply")]


@pytest.mark.parametrize("action", ["render", "deploy"])
def test_unrenderable_overlay_changes_nothing(site: Site, action: str) -> None:
    done = site.run(action, "local", FAKE_UNRENDERED="yes")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "bongsu: overlay 'local' cannot be rendered (see above)" in done.stderr
    assert not [line for line in site.asked if line.startswith(("delete", "apply"))]


def test_it_applies_then_waits_for_stores_queues_and_keda(site: Site) -> None:
    done = site.run("deploy", "edge", CONTEXT="kind-test")
    assert done.returncode == 0, done.stderr
    steps = [line.partition(" --timeout")[0] for line in site.asked]
    order = [
        next(i for i, line in enumerate(steps) if line.startswith(start))
        for start in (
            "delete job topology migration",
            "apply -f",
            "rollout status --namespace bongsu statefulset/rabbitmq",
            "rollout status --namespace bongsu statefulset/mysql",
            "exec --stdin --namespace bongsu statefulset/rabbitmq -- rabbitmqctl -q import_definitions",
            "create -f",
            "wait --namespace bongsu --for=condition=Complete job/topology",
            "wait --namespace bongsu --for=condition=Complete job/migration",
            "rollout status --namespace bongsu deployment/api",
            "wait --namespace bongsu --for=condition=Ready scaledobject",
        )
    ]
    assert order == sorted(order)
    assert "http://bongsu.local/" in done.stdout


def test_only_our_images_come_from_the_registry_that_is_named(site: Site) -> None:
    site.run("deploy", "local", "registry.example/team", "1.2.3")
    assert "image: registry.example/team/map:1.2.3" in site.applied
    assert "- image: registry.example/team/post:1.2.3" in site.applied
    assert "image: mariadb:11.4.8" in site.applied


def test_failed_rollout_names_the_diagnosing_command(site: Site) -> None:
    done = site.run("deploy", "local", FAKE_BROKEN="statefulset/mysql")
    assert done.returncode != 0
    assert "statefulset/mysql is not ready within 300s (TIMEOUT=15m gives it longer): kubectl describe" in done.stderr


def test_undeploy_keeps_volumes_and_secrets_unless_told(site: Site) -> None:
    done = site.run("undeploy", "local")
    assert done.returncode == 0, done.stderr
    deleted = [line for line in site.asked if line.startswith("delete")]
    assert deleted[0].startswith("delete scaledobject")
    assert not [
        line for line in deleted if "persistentvolumeclaim" in line or "secret" in line or "namespace b" in line[:20]
    ]
    site.run("undeploy", "local", "delete")
    assert [line for line in site.asked if line.startswith("delete namespace bongsu")]


def test_logs_need_a_name(site: Site) -> None:
    assert "make logs F=post" in site.run("logs", "local").stderr
    assert site.run("logs", "local", "post").returncode == 0
    assert "app.kubernetes.io/name=post" in site.asked[-1]


def test_a_restore_is_the_backups_own_job_told_a_file(site: Site) -> None:
    assert "make restore FILE=" in site.run("restore", "local").stderr
    assert "a file's name only" in site.run("restore", "local", "../etc/passwd").stderr
    assert not [line for line in site.asked if line.startswith(("create", "apply", "delete"))]
    done = site.run("restore", "local", "bongsu-20261101T181700Z.sql.gz")
    assert done.returncode == 0, done.stderr
    # A pipe's ends start in any order.
    assert {line.partition(" --")[0] for line in site.asked[2:]} == {
        "delete job restore",
        "create job restore",
        "set env",
        "apply",
        "wait",
    }
    assert [line for line in site.asked if "RESTORE=bongsu-20261101T181700Z.sql.gz" in line]


def test_the_stores_are_applied_alone_and_first(site: Site, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(Cluster("local").text)
    done = site.run("deploy", "local", FAKE_OVERLAY=str(overlay))
    assert done.returncode == 0, done.stderr
    stores, asleep, rest = (
        [d for d in yaml.safe_load_all(Path(f"{site.folder}/asked.{name}.yaml").read_text()) if d and "kind" in d]
        for name in ("stores", "asleep", "rest")
    )
    workloads = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
    assert [d["metadata"]["name"] for d in stores if d["kind"] in workloads] == ["mysql", "rabbitmq"]
    # They need no API of KEDA's, and all that the stores refer to is with them.
    assert {d["kind"] for d in stores} >= {"Namespace", "PriorityClass", "Secret", "ConfigMap", "ServiceAccount"}
    assert not [d for d in stores if d["apiVersion"].startswith("keda.sh")]
    # What sleeps begins at zero, and the manifest that is applied from then on says no number.
    assert {d["metadata"]["name"]: d["spec"]["replicas"] for d in asleep} == dict.fromkeys(SCALED, 0)
    applied = {d["metadata"]["name"]: d for d in rest if d["kind"] == "Deployment"}
    for d in asleep:
        assert "replicas" not in applied[d["metadata"]["name"]]["spec"]
        d["spec"].pop("replicas")
        assert d == applied[d["metadata"]["name"]]
    assert len(rest) == len(Cluster("local").objects)


def test_what_is_pending_is_named_with_its_latest_event(site: Site) -> None:
    done = site.run("deploy", "local", FAKE_BROKEN="statefulset/rabbitmq")
    assert done.returncode != 0
    assert (
        "bongsu: pod rabbitmq-0 is Pending: FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu."
        in done.stderr
    )
    assert "mysql-0" not in done.stderr


def test_undeploy_goes_on_past_the_pods_of_a_dead_node(site: Site) -> None:
    done = site.run("undeploy", "local", FAKE_STUCK="yes")
    assert done.returncode == 0
    assert "node two does not answer, so its pods stay until it does: pod/map-1" in done.stderr
    assert "kubectl delete node two" in done.stderr
    assert [line for line in site.asked if line.startswith("delete service,ingress")]


def test_dead_letters_are_asked_for_in_a_pod_of_the_operators(site: Site) -> None:
    done = site.run("dead", "local", "replay", "fire.map:0a1b")
    assert done.returncode == 0, done.stderr
    asked = "\n".join(site.asked)
    overrides = json.loads(re.search(r"--overrides (\{.*\})", asked, re.DOTALL)[1])  # type: ignore[index]
    (container,) = overrides["spec"]["containers"]
    assert container["command"] == ["bongsu", "dead", "replay", "fire.map:0a1b"]
    assert container["envFrom"] == [{"secretRef": {"name": "bongsu-broker-operator"}}]
    assert overrides["spec"]["securityContext"]["runAsNonRoot"] is True
    assert "is not an argument of bongsu dead" in site.run("dead", "local", 'x"; rm').stderr


def test_sessions_come_where_they_are_switched_on(site: Site) -> None:
    assert not any("bongsu-sessions" in line for line in _deployed(site).asked)
    done = site.run("deploy", "local", SESSIONS="on")
    assert "bongsu key new" in done.stderr
    assert done.returncode
    (site.folder / "k8s/sessions/keys").write_text("car viewer 0\n")
    assert site.run("deploy", "local", SESSIONS="on").returncode == 0
    assert any(line.startswith("rollout status --namespace bongsu-sessions deployment/sessions") for line in site.asked)


def _deployed(site: Site) -> Site:
    assert site.run("deploy", "local").returncode == 0
    return site
