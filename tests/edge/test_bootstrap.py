"""Story 8: a Debian machine becomes a node and stops being one, by Ansible; what it lacks is said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from edge.bootstrap import COLLECTION
from tests.edge.conftest import Fleet
from tests.edge.debian import DebianMachine
from tests.servers import ServerError

needs_ansible = pytest.mark.skipif(find_spec("ansible") is None, reason="no Ansible: pip install 'bongsu[bootstrap]'")
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture
def machine(tmp_path: Path, fleet: Fleet) -> Iterator[DebianMachine]:
    if os.geteuid():
        pytest.skip("network namespaces need root")
    try:
        made = DebianMachine(tmp_path / "debian", fleet.key)
    except ServerError as error:
        pytest.skip(str(error))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.connected
@pytest.mark.slow  # four runs of Ansible, of three seconds of CPU each
@pytest.mark.timeout(900)
@needs_ansible
def test_bootstrap_is_checked_applied_repeated_and_undone(fleet: Fleet, machine: DebianMachine, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CA)
    fleet.ok(
        "nodes", "add", "gate-1", "--ssh", machine.address, "--key", str(fleet.key), "--host-key", machine.fingerprint
    )
    fleet.environment |= {
        "BONGSU_MODEL_REGISTRY": "https://registry.example:5000", "BONGSU_MODEL_REGISTRY_CA": str(tmp_path / "ca.pem"),
    }  # fmt: skip
    command = ("nodes", "bootstrap", "gate-1", "--runtime", "podman", "--metrics-from", "10.213.7.0/30")
    certificates = [machine.root / "etc/bongsu/registry-ca.pem",
                    machine.root / "etc/containers/certs.d/registry.example:5000/ca.crt"]  # fmt: skip

    checked = fleet.run(*command, "--check")
    assert checked.returncode == 0, checked.stderr
    assert "would change: Install " in checked.stdout and "podman" in checked.stdout
    assert "systemd does not run here" in checked.stderr and "there is no GPU of NVIDIA" in checked.stderr
    assert not any(path.exists() for path in certificates)

    applied = fleet.ok(*command)
    assert applied.count("changed: ") == checked.stdout.count("would change: ") == 6
    assert [path.read_text() for path in certificates] == [CA, CA]
    rules = machine.inside("nft", "list", "table", "inet", "bongsu")
    assert "policy drop" in rules and f"tcp dport {machine.port} accept" in rules and "10.213.7.0/30" in rules
    assert fleet.ok(*command, "--check") == "gate-1: no change\n"

    fleet.ok("nodes", "remove", "gate-1")
    assert not any(path.exists() for path in certificates) and not (machine.root / "etc/bongsu").exists()
    assert "table inet bongsu" not in machine.inside("nft", "list", "ruleset")
    assert "bongsu" not in (machine.root / "etc/nftables.conf").read_text()
    actions = [json.loads(line)["action"] for line in (fleet.folder / "audit.jsonl").read_text().splitlines()]
    assert actions[1:3] == ["node_bootstrapped", "node_bootstrap_undone"]


@needs_ansible
def test_what_cannot_be_bootstrapped_is_one_line(fleet: Fleet) -> None:
    fleet.ok("nodes", "add", "desk", "--here")
    assert "is not reached over SSH" in fleet.refused("nodes", "bootstrap", "desk")


def test_the_collection_names_only_modules_of_ansible_core() -> None:
    for path in (COLLECTION / "roles").rglob("tasks/*.yml"):
        for task in yaml.safe_load(path.read_text()):
            modules = [key for key in task if "." in key]
            assert modules and modules[0].startswith(("ansible.builtin.", "bongsu.edge.")), f"{path}: {task['name']}"
