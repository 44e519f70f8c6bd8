"""Overlays as a cluster would get them: a copy of the manifests, with secrets made for the test, through kustomize."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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
    with tempfile.TemporaryDirectory() as folder:
        fill_in(copy_of_the_manifests(Path(folder)))
        return kustomize(Path(folder) / "k8s/overlays" / overlay)


def kustomize(overlay: Path) -> str:
    """What `kubectl kustomize` makes of a folder; skips the test where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_component(folder: Path, name: str, *, files: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """What the overlay `local` would put on a cluster if it named a component.

    Args:
        folder: an empty folder for the copy of the manifests.
        name: the component.
        files: more files beside the overlay's kustomization, each for a generator `bongsu-` and its stem.
    """
    fill_in(copy_of_the_manifests(folder))
    overlay = folder / "k8s/overlays/local"
    file = overlay / "kustomization.yaml"
    listed = file.read_text()
    assert "components:\n" in listed and "configMapGenerator:\n" in listed
    listed = listed.replace("components:\n", f"components:\n  - ../../components/{name}\n")
    for path, content in (files or {}).items():
        (overlay / path).write_text(content)
        generator = f"  - name: bongsu-{Path(path).stem}\n    files: [{path}]\n"
        listed = listed.replace("configMapGenerator:\n", f"configMapGenerator:\n{generator}")
    file.write_text(listed)
    return [made for made in yaml.safe_load_all(kustomize(overlay)) if made]


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
