"""The component `fleet`, as an overlay that names it would get it."""

from __future__ import annotations

from typing import Any

import pytest

from edge.settings import read_gateway_settings
from functions.variables import KNOWN
from tests.k8s.conftest import with_component


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Everything that the overlay `local` has with the component."""
    return with_component(tmp_path_factory.mktemp("fleet"), "fleet")


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def mounts(container: dict[str, Any]) -> set[str]:
    return {mount["mountPath"] for mount in container["volumeMounts"]}


def test_component_is_valid_and_restricted(objects: list[dict[str, Any]]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for o in objects:
        if o["metadata"]["name"].startswith("fleet"):
            kubernetes_validate.validate(o, "1.36.0", strict=True)
    pod = one(objects, "Deployment", "fleet")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_gateway_has_no_ssh_key_and_the_api_only_the_status(objects: list[dict[str, Any]]) -> None:
    serve, gateway = one(objects, "Deployment", "fleet")["spec"]["template"]["spec"]["containers"]
    assert "/etc/bongsu/ssh" in mounts(serve) and "/etc/bongsu/ssh" not in mounts(gateway)
    assert "/etc/bongsu/gateway" in mounts(gateway) and "/etc/bongsu/gateway" not in mounts(serve)
    (api,) = one(objects, "Deployment", "api")["spec"]["template"]["spec"]["containers"]
    assert "/var/lib/bongsu/fleet-status" in mounts(api) and "/var/lib/bongsu/fleet" not in mounts(api)
    environment = {e["name"]: e["value"] for e in serve["env"]}
    settings = next(
        o["data"] for o in objects if o["kind"] == "ConfigMap" and "BONGSU_FLEET_STATUS" in o.get("data", {})
    )
    assert environment["BONGSU_FLEET_STATUS"] == settings["BONGSU_FLEET_STATUS"]


def test_settings_and_ports_are_those_of_the_code(objects: list[dict[str, Any]]) -> None:
    _, gateway = one(objects, "Deployment", "fleet")["spec"]["template"]["spec"]["containers"]
    given = {e["name"]: e["value"] for e in gateway["env"]}
    known = {*given, *one(objects, "ConfigMap", "fleet-settings")["data"]}
    assert {name.removesuffix("_FILE") for name in known} <= set(KNOWN)
    assert read_gateway_settings({"BONGSU_GATEWAY_LISTEN": given["BONGSU_GATEWAY_LISTEN"]}).port == 8443
    rules = one(objects, "NetworkPolicy", "fleet")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in rules if "from" not in rule] == ["gateway"]
    assert one(objects, "Service", "fleet")["spec"]["ports"][0]["targetPort"] == "gateway"
