"""The component `roads`, as docs/city.md says to add it to an overlay."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from functions.variables import KNOWN
from tests.k8s.conftest import copy_of_the_manifests, fill_in


def test_component_gives_the_api_the_overlays_roads(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    fill_in(copy_of_the_manifests(tmp_path))
    overlay = tmp_path / "k8s/overlays/local"
    (overlay / "roads.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    file = overlay / "kustomization.yaml"
    listed = file.read_text().replace("components:\n", "components:\n  - ../../components/roads\n")
    generator = "configMapGenerator:\n"
    file.write_text(listed.replace(generator, f"{generator}  - name: bongsu-roads\n    files: [roads.geojson]\n"))
    rendered = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=True).stdout
    objects = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(rendered) if o}
    assert "FeatureCollection" in objects["ConfigMap", "bongsu-roads"]["data"]["roads.geojson"]
    pod = objects["Deployment", "api"]["spec"]["template"]["spec"]
    (named,) = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "BONGSU_ROADS"]
    mounted = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    assert named == f"{mounted['roads']}/roads.geojson" and "BONGSU_ROADS" in KNOWN
    assert {"name": "roads", "configMap": {"name": "bongsu-roads"}} in pod["volumes"]
