"""Every overlay, rendered: valid for the API server, safe, and in step with the code and with itself."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from api import settings as settings_of_api
from functions import permissions, push_keys
from functions import settings as settings_of_functions
from functions.signature import public_key_of
from functions.topology import burst_queue, queues, read_regions
from functions.variables import KNOWN
from local.manifest import read_workloads
from motion.config import load_cameras
from tests.k8s.conftest import OVERLAYS, ROOT, Cluster
from tests.keda.test_manifests import schema_of

SCALED = {workload.name: workload for workload in read_workloads(ROOT / "keda")}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def secret(cluster: Cluster, name: str) -> dict[str, str]:
    data = cluster.kind("Secret")[name]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def settings(cluster: Cluster) -> dict[str, str]:
    return dict(cluster.kind("ConfigMap")["bongsu-settings"]["data"])


# Valid for those who have to accept it


def test_the_overlays_are_there() -> None:
    assert set(OVERLAYS) >= {"local", "edge"}


@pytest.mark.parametrize("version", ["1.33.0", "1.34.0", "1.35.0", "1.36.0"])
def test_native_kinds_are_valid(cluster: Cluster, version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for o in cluster.objects:
        if not o["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(o, version, strict=True)


def test_keda_kinds_satisfy_kedas_schema(cluster: Cluster) -> None:
    kinds = [o for o in cluster.objects if o["apiVersion"].startswith("keda.sh/")]
    assert {o["kind"] for o in kinds} == {"ScaledObject", "TriggerAuthentication"}
    for o in kinds:
        jsonschema.validate(o, schema_of(o["kind"]))


def test_kubectl_accepts_everything_strictly(cluster: Cluster, tmp_path: Path) -> None:
    assert replayed(cluster.text, tmp_path) == len(cluster.objects)


def replayed(text: str, folder: Path) -> int:
    """How many objects a recorded API server took."""
    replay = Path(os.environ.get("BONGSU_KUBE_REPLAY") or ROOT.parent / "shared/tools/kube-replay.py")
    if not replay.is_file() or shutil.which("kubectl") is None:
        pytest.skip("no recorded API server here: BONGSU_KUBE_REPLAY names the tool that replays one")
    (folder / "all.yaml").write_text(text)
    command = [sys.executable, replay, folder / "all.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.count("created (dry run)")


@functools.cache
def beside() -> str:
    """What measures the cluster, rendered."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(ROOT / "k8s/cluster")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("version", ["1.33.0", "1.36.0"])
def test_monitoring_is_valid_and_asks_only_what_it_states(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    objects = [o for o in yaml.safe_load_all(beside()) if o]
    for o in objects:
        kubernetes_validate.validate(o, version, strict=True)
    for o in objects:
        if o["kind"] != "DaemonSet":
            continue
        pod = o["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "privileged" not in container["securityContext"]
        assert all(mount.get("readOnly") for mount in container.get("volumeMounts", []))
        assert re.search(r":v?\d+\.\d+\.\d+", container["image"])
        assert "memory" in container["resources"]["limits"]


def test_kubectl_accepts_what_measures_the_cluster(tmp_path: Path) -> None:
    replayed(beside(), tmp_path)


def test_dry_run_from_nothing_needs_the_documented_namespaces() -> None:
    said = (ROOT / "docs/deploy.md").read_text()
    made = re.search(r"kubectl apply((?: -f k8s/\S+namespace\.yaml)+)\n", said)
    assert made is not None
    there = {"keda"}  # by KEDA's own manifest, the line before
    for path in re.findall(r"-f (\S+)", made[1]):
        there |= {d["metadata"]["name"] for d in yaml.safe_load_all((ROOT / path).read_text()) if d}
    for text in (beside(), *(Cluster(overlay).text for overlay in OVERLAYS)):
        assert {o["metadata"].get("namespace", "keda") for o in yaml.safe_load_all(text) if o} <= there


# In step with the code


def regions(cluster: Cluster) -> tuple[str, ...]:
    return read_regions(settings(cluster).get("BONGSU_REGIONS", ""))


def test_every_scaled_workload_is_there_with_both_its_kinds(cluster: Cluster) -> None:
    scaled = {*SCALED, *(f"detect-{region}" for region in regions(cluster))}
    assert set(cluster.kind("ScaledObject")) == scaled, "name the file in keda/Kustomization, the region in the overlay"
    assert set(SCALED) <= set(cluster.kind("Deployment"))
    for name in SCALED:
        # A number here would fight with KEDA at every deploy.
        assert "replicas" not in cluster.kind("Deployment")[name]["spec"]


def test_topology_job_declares_what_keda_watches(cluster: Cluster) -> None:
    (container,) = containers(cluster.pods["Job/topology"])
    watched = {
        trigger["metadata"]["queueName"]
        for scaled in cluster.kind("ScaledObject").values()
        for trigger in scaled["spec"]["triggers"]
    }
    assert container["command"] == ["bongsu", "topology", "apply"]
    # Given `motion` it declares the regions' own too, of which the settings tell it.
    assert {"configMapRef": {"name": "bongsu-settings"}} in container["envFrom"]
    own = [queue.name for queue in queues(f"motion.{region}" for region in regions(cluster)) if queue.name != "motion"]
    assert sorted([*container["args"], *own]) == sorted(watched)


def test_each_region_has_its_own_scaled_detector() -> None:
    cluster = Cluster("edge")
    cameras = yaml.safe_load(cluster.kind("ConfigMap")["bongsu-cameras"]["data"]["cameras.yaml"])["cameras"]
    assert {burst_queue(camera["place"]["region"], regions(cluster)) for camera in cameras} == {
        f"motion.{region}" for region in regions(cluster)
    }
    given = {**settings(cluster), **secret(cluster, "bongsu-broker-detect")}
    for region in regions(cluster):
        scaled, deployment = cluster.kind("ScaledObject")[f"detect-{region}"], cluster.kind("Deployment")
        assert scaled["spec"]["scaleTargetRef"] == {"name": f"detect-{region}"}
        (container,) = containers(cluster.pods[f"Deployment/detect-{region}"])
        own = {variable["name"]: variable["value"] for variable in container["env"]}
        drains = msgspec.convert({**given, **own}, settings_of_functions.Settings, strict=False).burst_queue
        assert {trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]} == {drains}
        assert drains == f"motion.{region}"
        # On the nodes of that region and no other: what it does not get to, the shared one does.
        chosen = deployment[f"detect-{region}"]["spec"]["template"]["spec"]["nodeSelector"]
        assert chosen == {"topology.kubernetes.io/region": own["BONGSU_REGION"]}
        # All else is what keda/detect.yaml says.
        for kind in ("triggers", "cooldownPeriod", "pollingInterval", "advanced"):
            shared = cluster.kind("ScaledObject")["detect"]["spec"][kind]
            assert json.loads(json.dumps(scaled["spec"][kind]).replace(drains, "motion")) == shared


def test_no_workload_selects_the_pods_of_another(cluster: Cluster) -> None:
    # The HPA refuses to scale either of two such workloads.
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for name, o in cluster.kind(kind).items():
            selector = o["spec"]["selector"]["matchLabels"].items()
            assert [n for n, p in cluster.pods.items() if selector <= p["metadata"]["labels"].items()] == [
                f"{kind}/{name}"
            ]


def test_whoever_sees_faces_reaches_no_other_machine(cluster: Cluster) -> None:
    policy = cluster.kind("NetworkPolicy")["pictures-stay"]
    for name, pod in cluster.pods.items():
        sees = any(re.match("bongsu/(detect|caption)", container["image"]) for container in containers(pod))
        assert chooses_out(policy, pod) is sees, name


def test_every_variable_is_one_that_the_code_reads(cluster: Cluster) -> None:
    for pod in cluster.pods.values():
        for container in containers(pod):
            for name in environment(cluster, container):
                assert not name.startswith("BONGSU_") or name in KNOWN, f"{container['name']}: {name} is unknown"


def test_settings_are_accepted_by_the_code(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**settings(cluster), **secret(cluster, "bongsu-broker-map")}.items():
        monkeypatch.setenv(name, value)
    for name, value in secret(cluster, "bongsu-database").items():
        monkeypatch.setenv(name, value)
    assert settings_of_functions.load().broker_url.startswith("amqp://")
    assert settings_of_api.load().database_url.startswith("mysql+aiomysql://")


def test_cameras_are_accepted_by_motion(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in secret(cluster, "bongsu-cameras").items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "cameras.yaml"
    path.write_text(cluster.kind("ConfigMap")["bongsu-cameras"]["data"]["cameras.yaml"])
    assert load_cameras(path).cameras
    (container,) = containers(cluster.pods["DaemonSet/motion"])
    names = {variable["name"]: variable for variable in container["env"]}
    folder = Path(names["BONGSU_CAMERAS"]["value"])
    assert str(folder.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert names["BONGSU_NODE"]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_where_several_nodes_read_cameras_each_camera_names_one(overlay: str) -> None:
    kustomization = (ROOT / "k8s/overlays" / overlay / "kustomization.yaml").read_text()
    cameras = yaml.safe_load((ROOT / "k8s/overlays" / overlay / "cameras.yaml").read_text())["cameras"]
    if "nodeSelector" in kustomization:
        assert all(camera.get("node", "any") != "any" for camera in cameras)


def test_our_images_are_stages_of_the_dockerfile(cluster: Cluster) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE))
    ours = {
        container["image"].partition("/")[2].partition(":")[0]
        for pod in cluster.pods.values()
        for container in containers(pod)
        if container["image"].startswith("bongsu/")
    }
    assert ours <= stages
    assert ours >= {"motion", "detect", "function", "caption", "api"}
    assert ("detect-cuda" in ours) is (cluster.overlay == "edge")


def test_a_function_has_time_to_finish_what_it_has_in_hand(cluster: Cluster) -> None:
    for name in SCALED:
        pod = cluster.pods[f"Deployment/{name}"]
        assert pod["spec"]["terminationGracePeriodSeconds"] >= settings_of_functions.Settings().grace_s + 5


def test_pods_have_what_the_docs_commands_need(cluster: Cluster) -> None:
    said = "".join((ROOT / "docs" / name).read_text() for name in ("operate.md", "deploy.md"))
    found = re.findall(r"kubectl exec -n bongsu (\w+)/(\w+) -- bongsu (\w+)", said)
    assert {command for _, _, command in found} == {"trace"}
    for kind, name, command in found:
        pods = {key.lower(): pod for key, pod in cluster.pods.items()}
        (container,) = containers(pods[f"{kind}/{name}"])
        secrets = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
        assert {"trace": "bongsu-database"}[command] in secrets


def test_edge_bursts_are_drained_by_edge_detectors() -> None:
    cluster = Cluster("edge")
    for name in ("detect", "caption"):
        affinity = cluster.pods[f"Deployment/{name}"]["spec"]["affinity"]
        (kind,) = affinity["podAffinity"]
        assert kind == "preferredDuringSchedulingIgnoredDuringExecution"  # with the region down, anywhere is better
        (wish,) = affinity["podAffinity"][kind]
        assert wish["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/region"
        selector = wish["podAffinityTerm"]["labelSelector"]["matchLabels"]
        assert selector.items() <= cluster.pods["DaemonSet/motion"]["metadata"]["labels"].items()


def test_a_function_on_a_lost_node_is_started_on_another_at_once(cluster: Cluster) -> None:
    for name in SCALED:
        waits = {
            t["key"]: t.get("tolerationSeconds") for t in cluster.pods[f"Deployment/{name}"]["spec"]["tolerations"]
        }
        for key in ("not-ready", "unreachable"):
            assert waits[f"node.kubernetes.io/{key}"] <= 10
    if cluster.overlay == "edge":
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in cluster.pods[
            "Deployment/detect"
        ]["spec"]["tolerations"]


# In step with itself


def test_everything_lies_in_the_namespace(cluster: Cluster) -> None:
    (namespace,) = cluster.kind("Namespace")
    assert {
        o["metadata"].get("namespace") for o in cluster.objects if o["kind"] not in ("Namespace", "PriorityClass")
    } == {namespace}
    for key, port in (("amqp", 5672), ("http", 15672)):
        assert secret(cluster, "bongsu-keda")[key].endswith(f"@rabbitmq.{namespace}.svc:{port}/")


def test_what_is_referred_to_is_there(cluster: Cluster) -> None:
    claims = set(cluster.kind("PersistentVolumeClaim"))
    for name, pod in cluster.pods.items():
        assert pod["spec"]["serviceAccountName"] in cluster.kind("ServiceAccount")
        mounted = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
        templates = {
            t["metadata"]["name"]
            for o in cluster.kind("StatefulSet").values()
            for t in o["spec"].get("volumeClaimTemplates", [])
            if name == f"StatefulSet/{o['metadata']['name']}"
        }
        volumes = pod["spec"].get("volumes", [])
        assert mounted == {v["name"] for v in volumes} | templates, name
        for volume in volumes:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in cluster.kind("ConfigMap")
            if "secret" in volume:
                assert volume["secret"]["secretName"] in cluster.kind("Secret")
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in containers(pod):
            environment(cluster, container)


def test_triggers_find_their_credentials(cluster: Cluster) -> None:
    for authentication in cluster.kind("TriggerAuthentication").values():
        for target in authentication["spec"]["secretTargetRef"]:
            assert secret(cluster, target["name"])[target["key"]].startswith(f"{target['key']}://keda:")


def users_of(cluster: Cluster) -> dict[str, str]:
    """The password of each of the broker's users, as its own Secret has it."""
    found = {}
    for name in cluster.kind("Secret"):
        if name.startswith("bongsu-broker-"):
            url = re.fullmatch(
                r"amqp://(\w+):([\w-]+)@rabbitmq:5672/", secret(cluster, name)["BONGSU_BROKER_URL"].strip()
            )
            assert url is not None, name
            assert permissions.secret_name(url[1]) == name
            found[url[1]] = url[2]
    return found


def test_passwords_agree_wherever_they_are_used(cluster: Cluster) -> None:
    database = re.fullmatch(
        r"mysql\+aiomysql://bongsu:(.+)@mysql:3306/bongsu", secret(cluster, "bongsu-database")["BONGSU_DATABASE_URL"]
    )
    keda = re.fullmatch(r"amqp://keda:(.+)@\S+", secret(cluster, "bongsu-keda")["amqp"])
    assert database
    assert keda
    server = secret(cluster, "bongsu-mysql")
    assert (server["MARIADB_USER"], server["MARIADB_PASSWORD"]) == ("bongsu", database[1])
    users = {u["name"]: u for u in json.loads(secret(cluster, "bongsu-rabbitmq")["definitions.json"])["users"]}
    passwords = users_of(cluster) | {"keda": keda[1]}
    assert set(passwords) == set(users)
    for name, password in passwords.items():
        kept = base64.b64decode(users[name]["password_hash"])
        assert kept == kept[:4] + hashlib.sha256(kept[:4] + password.encode()).digest()
    assert len({*passwords.values(), database[1], server["MARIADB_ROOT_PASSWORD"]}) == len(passwords) + 2


def test_each_service_signs_in_to_the_broker_as_itself(cluster: Cluster) -> None:
    own = {}
    for name, pod in cluster.pods.items():
        named = [s["secretRef"]["name"] for c in containers(pod) for s in c.get("envFrom", []) if "secretRef" in s]
        own[name.rpartition("/")[2]] = [secret for secret in named if secret.startswith("bongsu-broker")]
    # A region's detector is the detector.
    wanted = {name: [f"bongsu-broker-{name.partition('-')[0]}"] for name in own if name.startswith("detect")}
    wanted |= {name: [f"bongsu-broker-{name}"] for name in ("motion", "topology", "api", *SCALED)}
    assert {name: secrets for name, secrets in own.items() if secrets} == wanted


def test_only_captioner_signs_and_readers_verify(cluster: Cluster) -> None:
    names = ("bongsu-caption-key", "bongsu-caption-public", "bongsu-push-key", "bongsu-push-public")
    holders: dict[str, set[str]] = {name: set() for name in names}
    for name, pod in cluster.pods.items():
        for source in (s for c in containers(pod) for s in c.get("envFrom", [])):
            if (held := source.get("secretRef", {}).get("name")) in holders:
                holders[held].add(name.rpartition("/")[2])
    readers = {"bongsu-caption-key": {"caption"}, "bongsu-caption-public": {"map", "post", "push"}}
    assert holders == readers | {"bongsu-push-key": {"push"}, "bongsu-push-public": {"api"}}
    private = secret(cluster, "bongsu-caption-key")["BONGSU_CAPTION_KEY"].strip()
    assert secret(cluster, "bongsu-caption-public")["BONGSU_CAPTION_PUBLIC_KEYS"].strip() == public_key_of(private)
    private = secret(cluster, "bongsu-push-key")["BONGSU_PUSH_KEY"].strip()
    assert secret(cluster, "bongsu-push-public")["BONGSU_PUSH_PUBLIC_KEY"].strip() == push_keys.public_of(private)


def test_keda_may_count_and_nothing_else(cluster: Cluster) -> None:
    definitions = json.loads(secret(cluster, "bongsu-rabbitmq")["definitions.json"])
    (user,) = [u for u in definitions["users"] if u["name"] == "keda"]
    (rights,) = [p for p in definitions["permissions"] if p["user"] == "keda"]
    assert user["tags"] == ["management"]
    assert {rights["configure"], rights["write"], rights["read"]} == {"^$"}


def test_priorities_put_stores_first_and_notifiers_before_detect(cluster: Cluster) -> None:
    value = {name: o["value"] for name, o in cluster.kind("PriorityClass").items()}
    of = {name.rpartition("/")[2]: value[pod["spec"]["priorityClassName"]] for name, pod in cluster.pods.items()}
    assert of["rabbitmq"] == of["mysql"] > of["motion"] == of["api"] > of["map"] == of["post"] > of["caption"]
    assert min(of.values()) == of["detect"] < of["caption"]
    assert of["topology"] == of["migration"] == of["rabbitmq"]  # without their work nothing else is of use


# What a node of two CPUs carries besides us: KEDA 2.20.2's own manifest, and a cluster of one node by kubeadm
# (kind, minikube): API server 250m, controller manager 200m, scheduler, etcd, CoreDNS and kindnet 100m each.
KEDA_TAKES = (300, 300)
KUBERNETES_TAKES = (850, 290)


def asks(pod: dict[str, Any]) -> tuple[int, int]:
    """Thousandths of a CPU and MiB that a pod requests; what its init containers do is less than that."""
    units = {"Mi": 1, "Gi": 1024}
    requests = [c["resources"]["requests"] for c in pod["spec"]["containers"]]
    cpu_m = [int(r["cpu"][:-1]) if r["cpu"].endswith("m") else 1000 * int(r["cpu"]) for r in requests]
    return sum(cpu_m), sum(int(r["memory"][:-2]) * units[r["memory"][-2:]] for r in requests)


SHIPPED = {"detect", "map", "caption", "post", "push"}
"""The functions of this repository, without those that a user has added."""


def at_most(cluster: Cluster) -> tuple[int, int]:
    """The same of an overlay whose functions all have as many replicas as they may, on one node; without Jobs."""
    most = {
        o["spec"]["scaleTargetRef"]["name"]: o["spec"]["maxReplicaCount"] for o in cluster.kind("ScaledObject").values()
    }
    cpu_m = memory_mi = 0
    for name, pod in cluster.pods.items():
        kind, _, own = name.partition("/")
        if kind not in ("Job", "CronJob") and own not in SCALED.keys() - SHIPPED:
            asked = asks(pod)
            replicas = most.get(own) or cluster.kind(kind)[own]["spec"].get("replicas", 1)
            cpu_m, memory_mi = cpu_m + replicas * asked[0], memory_mi + replicas * asked[1]
    return cpu_m, memory_mi


def test_small_overlay_fits_two_cpus_and_four_gigabytes() -> None:
    # Everything at its most: so nothing, detectors least of all, can take the room that another needs to wake.
    cluster = Cluster("local")
    cpu_m, memory_mi = at_most(cluster)
    job_m = max(asks(pod)[0] for name, pod in cluster.pods.items() if name.startswith("Job/"))
    assert cpu_m + job_m + KEDA_TAKES[0] + KUBERNETES_TAKES[0] <= 2000
    assert memory_mi + KEDA_TAKES[1] + KUBERNETES_TAKES[1] <= 4096 - 500  # what the system itself keeps


def test_documented_sum_of_each_overlay_is_that_of_its_manifests(cluster: Cluster) -> None:
    said = re.search(rf"`{cluster.overlay}` ([\d.]+) CPUs and\s+([\d.]+) GiB", (ROOT / "docs/deploy.md").read_text())
    assert said is not None
    cpu_m, memory_mi = at_most(cluster)
    assert (float(said[1]), float(said[2])) == (round(cpu_m / 1000, 2), round(memory_mi / 1024, 1))


def measured() -> dict[str, dict[str, float]]:
    """The table of `python -m bench.requests` in the documentation: what each service uses and requests."""
    table = (ROOT / "docs/benchmarks.md").read_text().partition("`python -m bench.requests`)")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    columns = ("cpu", "asked_cpu", "memory", "asked_memory")
    return {row[0]: dict(zip(columns, map(float, row[2:6]), strict=True)) for row in rows[2:]}


WORKLOADS = {"rabbitmq": "StatefulSet", "mysql": "StatefulSet", "motion": "DaemonSet"}
STORES = ("rabbitmq", "mysql")


def test_requests_are_what_was_measured_and_a_quarter_more() -> None:
    base = Cluster("edge")  # which changes none of them
    assert set(measured()) >= {"api", "motion", "rabbitmq", "mysql", *SHIPPED}
    for name, row in measured().items():
        cpu_m, memory_mi = asks(base.pods[f"{WORKLOADS.get(name, 'Deployment')}/{name}"])
        assert (row["asked_cpu"], row["asked_memory"]) == (cpu_m / 1000, memory_mi), name
        assert 1.25 * row["cpu"] <= cpu_m / 1000 <= max(0.05, 2 * row["cpu"]), name
        # A store fills its caches over days.
        assert 1.25 * row["memory"] <= memory_mi <= (4 if name in STORES else 2) * row["memory"], name


def test_small_overlay_requests_what_three_of_ten_cameras_take() -> None:
    cluster = Cluster("local")
    for name, row in measured().items():
        cpu_m, memory_mi = asks(cluster.pods[f"{WORKLOADS.get(name, 'Deployment')}/{name}"])
        assert cpu_m / 1000 >= 1.25 * 0.3 * row["cpu"], name
        assert memory_mi == row["asked_memory"], name


def test_the_database_is_probed_with_a_login(cluster: Cluster) -> None:
    (container,) = containers(cluster.pods["StatefulSet/mysql"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][:2] == ["healthcheck.sh", "--connect"]


def test_a_burst_wakes_who_will_be_needed_after_the_detector(cluster: Cluster) -> None:
    bursts = {"motion", *(f"motion.{region}" for region in regions(cluster))}
    for name in ("map", "caption"):
        triggers = [t["metadata"] for t in cluster.kind("ScaledObject")[name]["spec"]["triggers"]]
        for queue in bursts:
            early = [t for t in triggers if t["queueName"] == queue]
            assert [(t["protocol"], t["mode"]) for t in early] == [("amqp", "QueueLength"), ("http", "MessageRate")]
            assert all(float(t["value"]) >= 1000 for t in early)  # never a second replica for it


def test_every_selector_finds_its_pods(cluster: Cluster) -> None:
    labels = [pod["metadata"]["labels"] for pod in cluster.pods.values()]
    selectors = [o["spec"]["selector"] for o in cluster.kind("Service").values()]
    selectors += [
        o["spec"]["selector"]["matchLabels"]
        for kind in ("PodDisruptionBudget", "Deployment", "StatefulSet", "DaemonSet")
        for o in cluster.kind(kind).values()
    ]
    for selector in selectors:
        assert [1 for found in labels if selector.items() <= found.items()], selector


def test_services_and_policies_name_ports_that_pods_have(cluster: Cluster) -> None:
    for service in cluster.kind("Service").values():
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports(cluster, service["spec"]["selector"])
    for policy in cluster.kind("NetworkPolicy").values():
        chosen = policy["spec"]["podSelector"].get("matchLabels")
        for rule in policy["spec"].get("ingress", []) if chosen else []:
            for port in rule["ports"]:
                assert port["port"] in ports(cluster, chosen).values(), policy["metadata"]["name"]


def test_what_needs_the_broker_or_the_database_is_let_in(cluster: Cluster) -> None:
    for store, name in (("rabbitmq", "bongsu-broker"), ("mysql", "bongsu-database")):
        allowed = {
            value
            for rule in cluster.kind("NetworkPolicy")[store]["spec"]["ingress"]
            for source in rule["from"]
            for expression in source.get("podSelector", {}).get("matchExpressions", [])
            for value in expression["values"]
        }
        for pod in cluster.pods.values():
            if any(name in str(c.get("envFrom")) for c in containers(pod)):
                assert pod["metadata"]["labels"]["bongsu/role"] in allowed


def test_metrics_are_served_where_they_are_scraped(cluster: Cluster) -> None:
    for name, pod in cluster.pods.items():
        scraped = pod["metadata"].get("annotations", {}).get("prometheus.io/port")
        if scraped is None:
            continue
        (container,) = pod["spec"]["containers"]
        assert int(scraped) in {port["containerPort"] for port in container["ports"]}, name
        if "metrics" in {port["name"] for port in container["ports"]} and container["image"].startswith("bongsu/"):
            assert settings(cluster)["BONGSU_METRICS_PORT"] == scraped
    assert all("prometheus.io/port" in cluster.pods[f"Deployment/{n}"]["metadata"]["annotations"] for n in SCALED)


def test_public_way_in_leads_to_no_metrics(cluster: Cluster) -> None:
    (container,) = containers(cluster.pods["Deployment/api"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] != ports["metrics"] == int(settings(cluster)["BONGSU_METRICS_PORT"])
    assert [port["targetPort"] for port in cluster.kind("Service")["api"]["spec"]["ports"]] == ["http"]
    policies = cluster.kind("NetworkPolicy")
    assert [rule["ports"] for rule in policies["api"]["spec"]["ingress"]] == [
        [{"protocol": "TCP", "port": ports["http"]}]
    ]
    (rule,) = policies["metrics"]["spec"]["ingress"]
    assert rule["from"] and rule["ports"] == [{"protocol": "TCP", "port": ports["metrics"]}]
    (expression,) = policies["metrics"]["spec"]["podSelector"]["matchExpressions"]
    assert cluster.pods["Deployment/api"]["metadata"]["labels"]["bongsu/role"] in expression["values"]


def test_snapshots_lie_where_map_post_and_api_all_reach_them(cluster: Cluster) -> None:
    url = settings(cluster)["BONGSU_SNAPSHOT_URL"]
    for name in ("map", "post", "push", "api"):
        (container,) = containers(cluster.pods[f"Deployment/{name}"])
        mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        if "://" in url:
            assert "bongsu-snapshots" in cluster.kind("Secret")
            assert url not in mounts
        else:
            assert mounts[url] == "snapshots"


# Safe


def test_every_pod_satisfies_the_restricted_standard(cluster: Cluster) -> None:
    (namespace,) = cluster.kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in cluster.pods.items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all("hostPath" not in volume for volume in spec.get("volumes", [])), name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "privileged" not in context, name
            assert context.get("readOnlyRootFilesystem") or name == "StatefulSet/rabbitmq", name


def test_only_needed_pods_have_a_limited_token(cluster: Cluster) -> None:
    # Prometheus finds its targets by asking for the pods of this namespace; motion shares its cameras by Leases.
    allowed = {
        "prometheus": {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        "motion": {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["list", "create", "update"],
        },
    }
    for name, pod in cluster.pods.items():
        has_token = pod["spec"]["automountServiceAccountToken"]
        assert has_token is (name in ("StatefulSet/prometheus", "DaemonSet/motion")), name
        assert not has_token or pod["spec"]["serviceAccountName"] in allowed
    assert {name: role["rules"] for name, role in cluster.kind("Role").items()} == {n: [r] for n, r in allowed.items()}
    for name, binding in cluster.kind("RoleBinding").items():
        assert binding["roleRef"]["name"] == name
        assert [(s["kind"], s["name"]) for s in binding["subjects"]] == [("ServiceAccount", name)]
    assert not cluster.kind("ClusterRole")


def test_motion_may_do_to_leases_what_it_does_and_no_more(cluster: Cluster) -> None:
    source = (ROOT / "motion/leases.py").read_text()
    verbs = {"GET": "list", "POST": "create", "PUT": "update"}
    assert {verbs[method] for method in re.findall(r'_ask\("([A-Z]+)"', source)} == set(
        cluster.kind("Role")["motion"]["rules"][0]["verbs"]
    )
    (container,) = containers(cluster.pods["DaemonSet/motion"])
    given = {variable["name"]: variable for variable in container["env"]}
    assert given["BONGSU_LEASE_URL"]["value"] == "https://kubernetes.default.svc"
    labels = given["BONGSU_REGION"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert labels == "metadata.labels['topology.kubernetes.io/region']"
    assert not [p for p in cluster.kind("NetworkPolicy").values() if chooses_out(p, cluster.pods["DaemonSet/motion"])]


def test_images_are_pinned_and_memory_is_bounded(cluster: Cluster) -> None:
    for name, pod in cluster.pods.items():
        for container in containers(pod):
            assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(-[a-z]+)?", container["image"]), name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name


def test_no_credential_is_in_a_file_of_the_repository() -> None:
    files = [*ROOT.glob("keda/**/*"), *ROOT.glob("k8s/**/*"), *ROOT.glob("docker/*")]
    for path in files:
        if not path.is_file() or (path.parent.name == "secrets" and path.suffix != ".example") or path.suffix == ".pyc":
            continue
        for password in re.findall(r"://[^\s/:@]+:([^\s@]+)@", path.read_text()):
            assert re.fullmatch(r"<[a-z_-]+>|\$\{[A-Z0-9_]+\}|PASSWORD", password), f"{path}: {password}"
        for value in re.findall(r"^\w*(?:PASSWORD|SECRET|KEY)\w*=(.+)$", path.read_text(), re.MULTILINE):
            assert re.match(r"<|\$", value), f"{path}: {value}"


def environment(cluster: Cluster, container: dict[str, Any]) -> Iterator[str]:
    """Names of the variables that a container gets; fails where a Secret or ConfigMap is missing."""
    names = [variable["name"] for variable in container.get("env", [])]
    for source in container.get("envFrom", []):
        (kind, reference), *_ = source.items()
        known = cluster.kind({"secretRef": "Secret", "configMapRef": "ConfigMap"}[kind])
        if reference["name"] not in known:
            assert reference.get("optional"), f"{container['name']}: no {kind} {reference['name']}"
            continue
        names += known[reference["name"]]["data"]
    return iter(names)


def chooses_out(policy: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Whether a policy restricts where a pod may go."""
    selector, labels = policy["spec"]["podSelector"], pod["metadata"]["labels"]
    is_chosen = selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )
    return is_chosen and "Egress" in policy["spec"]["policyTypes"]


def ports(cluster: Cluster, selector: dict[str, str]) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for pod in cluster.pods.values()
        if selector.items() <= pod["metadata"]["labels"].items()
        for container in containers(pod)
        for port in container.get("ports", [])
    }
