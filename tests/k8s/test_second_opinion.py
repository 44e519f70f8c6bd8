"""The component `second-opinion`, as an overlay that names it would get it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import copy_of_the_manifests, fill_in


def test_component_lets_the_captioner_reach_one_server_more(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    fill_in(copy_of_the_manifests(tmp_path))
    overlay = tmp_path / "k8s/overlays/local"
    file = overlay / "kustomization.yaml"
    named = file.read_text().replace("components:\n", "components:\n  - ../../components/second-opinion\n")
    file.write_text(named)
    rendered = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=True).stdout
    objects = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(rendered) if o}
    caption = objects["Deployment", "caption"]["spec"]["template"]
    secrets = [each["secretRef"]["name"] for each in caption["spec"]["containers"][0]["envFrom"] if "secretRef" in each]
    assert "bongsu-opinion" in secrets and "bongsu-caption-key" in secrets
    # The other policy still holds for it: this one adds a server.
    assert caption["metadata"]["labels"]["bongsu/pictures"] == "stay"
    policy = objects["NetworkPolicy", "second-opinion"]["spec"]
    (rule,) = policy["egress"]
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "caption"}}
    assert len(rule["to"]) == 1 and rule["ports"] == [{"protocol": "TCP", "port": 11434}]
