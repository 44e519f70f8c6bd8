"""What `make generate` writes for functions that answer requests, and for those in another language."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import yaml

from functions.hook import read_hooks
from functions.scaffold import write_function

ROOT = Path(__file__).resolve().parents[2]


def load_generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hooks_and_functions_in_other_languages_are_deployed(tmp_path, monkeypatch):
    for folder in ("keda", "docs", "k8s/base", "k8s/overlays"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.env"))
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker/compose.yaml", tmp_path / "docker")
    (tmp_path / "mine").mkdir()
    code, manifest, _ = write_function(tmp_path / "mine", "nightreport", (), path="/hooks/night-report")
    shutil.copy(ROOT / "examples/lookout-node/lookout.yaml", tmp_path / "keda/lookout.yaml")
    text = manifest.read_text().replace("./nightreport.py", str(code))
    (tmp_path / "keda/nightreport.yaml").write_text(text)
    code, manifest, _ = write_function(tmp_path / "mine", "nightly", (), cron="0 6 * * *")
    code.write_text(code.read_text().replace('zone="UTC"', 'zone="Asia/Seoul"').replace("0 6", "30 6"))
    (tmp_path / "keda/nightly.yaml").write_text(manifest.read_text().replace("./nightly.py", str(code)))
    monkeypatch.setattr(sys, "path", [*sys.path])
    generate = load_generate()
    monkeypatch.setattr(generate.settings_page, "read_groups", lambda root: [])  # the rooms stay where they are
    files = generate.generate(tmp_path)
    applied = next(yaml.safe_load_all(files[tmp_path / "k8s/base/topology.yaml"]))
    queues = applied["spec"]["template"]["spec"]["containers"][0]["args"]
    added = ["fire.lookout", "tick-nightly.nightly", "hook-night-report.nightreport", "answered.api"]
    assert queues[-4:] == added
    (hook,) = read_hooks(files[tmp_path / "k8s/base/hooks.env"].partition("BONGSU_HOOKS=")[2])
    assert (hook.path, hook.access) == ("/hooks/night-report", "operator")
    secrets = tmp_path / "k8s/overlays/edge/secrets"
    definitions = json.loads(files[secrets / "definitions.json.example"])
    may = {p["user"]: p for p in definitions["permissions"]}
    assert may["api"]["read"] == r"^(answered\.api)$" and may["api"]["configure"] == "^$"
    assert may["lookout"]["read"] == r"^(fire\.lookout)$"
    publishes = {p["user"]: p["write"] for p in definitions["topic_permissions"] if p["exchange"] == "bongsu"}
    assert publishes["api"] == "^(captioned|reviewed|hook-night-report)$" and publishes["nightreport"] == "^(answered)$"
    assert publishes["nightly"] == "^(tick-nightly)$"
    *_, cron = yaml.safe_load_all(files[tmp_path / "keda/nightly.yaml"])
    assert (cron["spec"]["schedule"], cron["spec"]["timeZone"]) == ("30 6 * * *", "Asia/Seoul")
    assert publishes["lookout"] == "^(lookout)$"
    assert "broker_api-password" in files[secrets / "broker-api.env.example"]
    assert "bongsu-broker-api, envs" in files[secrets.parent / "kustomization.yaml"]
