"""`make up`: valid for docker compose, and in step with the manifests of the cluster and with the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from functions.settings import Settings
from local.manifest import read_workloads
from tests.k8s.conftest import ROOT, Cluster, copy_of_the_manifests, fill_in

TEXT = (ROOT / "docker/compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCALED = {workload.name: workload for workload in read_workloads(ROOT / "keda")}
STORES = ("rabbitmq", "mysql")


@pytest.fixture(scope="module")
def local() -> Cluster:
    return Cluster("local")


def test_the_specification_accepts_it() -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec.json").read_text())
    # That schema is of 2021: the project's name at the top came a year later.
    specification = jsonschema.Draft201909Validator(schema)
    specification.validate({key: value for key, value in COMPOSE.items() if key != "name"})
    with pytest.raises(jsonschema.ValidationError):
        specification.validate({"services": {"a": {"image": "b", "comand": []}}})


def test_every_function_of_the_cluster_is_here_as_it_is_there(local: Cluster) -> None:
    # A function that a contributor adds runs on one host once somebody writes its service.
    assert set(SERVICES) >= {"detect", "map", "caption", "post", "push"}
    for name in SCALED.keys() & SERVICES.keys():
        (container,) = local.pods[f"Deployment/{name}"]["spec"]["containers"]
        assert SERVICES[name]["command"] == container["command"]
        assert image(name) == container["image"]
        secrets = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
        for secret, variable in ((f"bongsu-broker-{name}", "BROKER_URL"), ("bongsu-database", "DATABASE_URL")):
            assert (secret in secrets) == (f"BONGSU_{variable}" in SERVICES[name]["environment"]), name


def test_the_jobs_and_the_rest_are_those_of_the_cluster(local: Cluster) -> None:
    (topology,) = local.pods["Job/topology"]["spec"]["containers"]
    assert SERVICES["topology"]["command"] == topology["command"] + topology["args"]
    (migration,) = local.pods["Job/migration"]["spec"]["containers"]
    assert SERVICES["migration"]["command"] == migration["command"]
    for name, pod in (("api", "Deployment/api"), ("motion", "DaemonSet/motion"), ("migration", "Job/migration")):
        assert image(name) == local.pods[pod]["spec"]["containers"][0]["image"]
    for name in STORES:
        assert image(name) == local.pods[f"StatefulSet/{name}"]["spec"]["containers"][0]["image"]


def test_rabbitmq_is_set_up_as_on_a_cluster(local: Cluster) -> None:
    there = local.kind("ConfigMap")["rabbitmq"]["data"]["10-bongsu.conf"].splitlines()
    here = [line for line in (ROOT / "docker/rabbitmq.conf").read_text().splitlines() if not line.startswith("#")]
    assert here
    assert set(here) <= set(there)


def test_each_service_signs_in_to_the_broker_as_itself() -> None:
    for name, service in SERVICES.items():
        url = service.get("environment", {}).get("BONGSU_BROKER_URL")
        user = "operator" if name == "dead" else name
        assert url is None or url.startswith(f"amqp://{user}:${{broker_{user}:?"), name
    # A user that is made at start would be allowed everything.
    assert "environment" not in SERVICES["rabbitmq"]


def test_what_it_asks_for_is_what_make_secrets_writes(tmp_path: Path) -> None:
    fill_in(copy_of_the_manifests(tmp_path))
    secrets = tmp_path / "k8s/overlays/local/secrets"
    names = {line.partition("=")[0] for line in (secrets / "passwords.env").read_text().splitlines()}
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert required - {"CAMERAS"} <= names
    optional = {"REGISTRY", "TAG", "PORT", "NAME", "PUSH_CONTACT", "LANGUAGES"}
    assert set(re.findall(r"\$\{(\w+)", TEXT)) <= required | optional
    for service in SERVICES.values():
        for path in service.get("env_file", []):
            assert (secrets / Path(path).name).is_file()
            assert (ROOT / "docker" / path).resolve().parent == ROOT / "k8s/overlays/local/secrets"


def test_nothing_of_ours_runs_as_root_or_more_than_it_must() -> None:
    for name, service in SERVICES.items():
        assert "privileged" not in service
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+(-[a-z]+)?", image(name)), name
        if name in (*STORES, "definitions"):
            continue
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == ("0:0" if name == "snapshots" else "10001:10001")
        assert float(service["stop_grace_period"].removesuffix("s")) >= Settings().grace_s + 5
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])
    assert not [name for name, service in SERVICES.items() if name != "api" and "ports" in service]


def test_snapshots_lie_where_map_post_and_api_all_reach_them() -> None:
    for name in ("map", "post", "api", "snapshots"):
        assert SERVICES[name]["volumes"] == ["snapshots:/var/lib/bongsu/snapshots"]


def test_make_up_names_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    copy_of_the_manifests(tmp_path)
    done = make_up(tmp_path)
    assert "broker-caption.env is missing: make secrets ENV=local" in done.stderr
    fill_in(tmp_path)
    done = make_up(tmp_path)
    assert done.returncode != 0
    assert "cameras.yaml: no such file: cp cameras.example.yaml cameras.yaml" in done.stdout


def make_up(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "up"], cwd=folder, capture_output=True, text=True, timeout=60)


def image(name: str) -> str:
    found = SERVICES[name]["image"]
    return str(found.replace("${REGISTRY:-bongsu}", "bongsu").replace("${TAG:-0.1.0}", "0.1.0"))
