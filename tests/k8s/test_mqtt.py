"""The component `mqtt`, as an overlay that names it would get it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import copy_of_the_manifests, fill_in


def test_component_adds_one_bridge_that_has_the_pictures(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    fill_in(copy_of_the_manifests(tmp_path))
    overlay = tmp_path / "k8s/overlays/local"
    file = overlay / "kustomization.yaml"
    listed = file.read_text()
    assert "components:\n" in listed
    file.write_text(listed.replace("components:\n", "components:\n  - ../../components/mqtt\n"))
    rendered = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=True).stdout
    objects = [o for o in yaml.safe_load_all(rendered) if o]
    (bridge,) = [o for o in objects if o["metadata"]["name"] == "mqtt"]
    pod = bridge["spec"]["template"]["spec"]
    assert bridge["kind"] == "Deployment" and bridge["spec"]["replicas"] == 1
    assert "/var/lib/bongsu/snapshots" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    # It follows the database, and needs nothing of the broker.
    secrets = [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"] if "secretRef" in source]
    assert "bongsu-mqtt" in secrets and not [name for name in secrets if name.startswith("bongsu-broker")]
