"""Your own function gets its broker user: `bongsu function new`, `make generate`, `make secrets`, in a copy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import ROOT, load_script
from tests.rooms import ROOMS

PARTS = (*ROOMS, "keda", "k8s", "docker", "docs", "tools")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with a function `fire_watch` that takes fires and publishes `ambulance`."""
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        shutil.copytree(
            ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "media", "*.env", "*.png")
        )
    (folder / "tests/notify").mkdir(parents=True)
    run(folder, "-c", "from functions.cli import main; main()", "function", "new", "fire_watch", "--on", "fire")
    manifest = folder / "keda/fire_watch.yaml"
    manifest.write_text(
        manifest.read_text().replace('bongsu/publishes: ""', 'bongsu/publishes: "ambulance, Captioned"')
    )
    named = folder / "keda/Kustomization"
    named.write_text(named.read_text().replace("  - post.yaml\n", "  - post.yaml\n  - fire_watch.yaml\n"))
    run(folder, "tools/generate.py")
    return folder


def run(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", ["local", "edge"])
def test_function_has_user_rights_and_secret_in_each_overlay(copy: Path, overlay: str) -> None:
    secrets = copy / "k8s/overlays" / overlay / "secrets"
    load_script(copy / "k8s/credentials.py").write_secrets(secrets)
    definitions = json.loads((secrets / "definitions.json").read_text())
    (user,) = [u for u in definitions["users"] if u["name"] == "fire_watch"]
    assert len(user["password_hash"]) == 48
    (rights,) = [p for p in definitions["permissions"] if p["user"] == "fire_watch"]
    assert (rights["configure"], rights["read"]) == ("^$", r"^(fire\.fire_watch)$")
    (keys,) = [p for p in definitions["topic_permissions"] if (p["user"], p["exchange"]) == ("fire_watch", "bongsu")]
    assert keys["write"] == "^(ambulance|captioned)$"
    url = re.search(r"amqp://fire_watch:([\w-]+)@", (secrets / "broker-fire-watch.env").read_text())
    assert url is not None
    assert f"broker_fire_watch={url[1]}\n" in (secrets / "passwords.env").read_text()
    kustomization = yaml.safe_load((secrets.parent / "kustomization.yaml").read_text())
    assert {"name": "bongsu-broker-fire-watch", "envs": ["secrets/broker-fire-watch.env"]} in kustomization[
        "secretGenerator"
    ]


def test_its_pod_signs_in_with_it(copy: Path) -> None:
    deployment, _ = yaml.safe_load_all((copy / "keda/fire_watch.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "bongsu-broker-fire-watch"}}]
