"""The component `mqtt`, as an overlay that names it would get it."""

from __future__ import annotations

from pathlib import Path

from tests.k8s.conftest import with_component


def test_component_adds_one_bridge_that_has_the_pictures(tmp_path: Path) -> None:
    objects = with_component(tmp_path, "mqtt")
    (bridge,) = [o for o in objects if o["metadata"]["name"] == "mqtt"]
    pod = bridge["spec"]["template"]["spec"]
    assert bridge["kind"] == "Deployment" and bridge["spec"]["replicas"] == 1
    assert "/var/lib/bongsu/snapshots" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    # It follows the database, and needs nothing of the broker.
    secrets = [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"] if "secretRef" in source]
    assert "bongsu-mqtt" in secrets and not [name for name in secrets if name.startswith("bongsu-broker")]
