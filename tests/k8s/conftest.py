"""Overlays as a cluster would get them: a copy of the manifests, with secrets made for the test, through kustomize."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(path.parent.name for path in (ROOT / "k8s/overlays").glob("*/kustomization.yaml"))


def load_script(path: Path) -> ModuleType:
    """A script of k8s/, which is not a package."""
    spec = importlib.util.spec_from_file_location(f"k8s_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def copy_of_the_manifests(folder: Path) -> Path:
    """k8s/ and keda/ under `folder`, less what a developer's own `make secrets` has written."""
    shutil.copytree(ROOT / "keda", folder / "keda")
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    for path in (folder / "k8s/overlays").glob("*/secrets/*"):
        if path.suffix != ".example":
            path.unlink()
    return folder


def fill_in(folder: Path) -> None:
    """Do for every overlay what `make secrets` and then its user do."""
    credentials = load_script(ROOT / "k8s/credentials.py")
    for secrets in sorted((folder / "k8s/overlays").glob("*/secrets")):
        credentials.write_secrets(secrets)
        for path in (*secrets.glob("*.env"), *secrets.glob("*.yml")):
            path.write_text(re.sub(r"<[^>\n]+>", "mine", path.read_text()))


@functools.cache
def rendered(overlay: str) -> str:
    """An overlay through `kubectl kustomize`."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    with tempfile.TemporaryDirectory() as folder:
        copy_of_the_manifests(Path(folder))
        fill_in(Path(folder))
        command = ["kubectl", "kustomize", f"{folder}/k8s/overlays/{overlay}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Cluster:
    """What one overlay would put on a cluster."""

    def __init__(self, overlay: str) -> None:
        self.overlay = overlay
        self.text = rendered(overlay)
        self.objects: list[dict[str, Any]] = [d for d in yaml.safe_load_all(self.text) if d]

    def kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """Objects of a kind by name."""
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        """Pod templates by `Kind/name`."""
        found = {}
        for o in self.objects:
            spec = o.get("spec", {})
            if o["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if o["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
                found[f"{o['kind']}/{o['metadata']['name']}"] = spec["template"]
        return found


@pytest.fixture(params=OVERLAYS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.param)
