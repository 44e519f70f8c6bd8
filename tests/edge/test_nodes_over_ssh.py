"""Story 1: nodes, over real SSH servers."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.edge.conftest import Fleet
from tests.edge.servers import OciRegistry, SshNode, make_ssh_key

pytestmark = pytest.mark.connected

NewNode = Callable[..., SshNode]


def add(fleet: Fleet, node: SshNode, name: str, *more: str) -> str:
    return fleet.ok(
        "nodes", "add", name, "--ssh", node.address, "--key", str(fleet.key), "--host-key", node.fingerprint, *more
    )


def test_a_node_is_added_shown_labelled_and_removed(fleet: Fleet, new_node: NewNode, registry: OciRegistry) -> None:
    node = new_node("gate")
    fleet.environment |= registry.environment

    said = add(fleet, node, "gate-1", "--place", "37.57,126.98,Gate,Seoul", "--label", "site=harbour")
    assert said.startswith("gate-1 added: ")
    assert (node.user_home / ".bongsu/registry/ca.pem").read_text() == registry.ca.read_text()

    shown = json.loads(fleet.ok("nodes", "show", "gate-1", "--now"))
    assert shown["facts"]["cpus"] >= 1
    assert shown["facts"]["memory_bytes"] > 1 << 20
    assert shown["facts"]["architecture"] in ("amd64", "arm64")
    assert shown["place"] == {"lat": 37.57, "lon": 126.98, "name": "Gate", "region": "Seoul"}
    assert shown["on_node"] == []

    assert "floor=2 site=harbour" in fleet.ok("nodes", "label", "gate-1", "floor=2")
    assert "gate-1" in fleet.ok("nodes", "list", "--nodes", "region=Seoul,floor=2")
    fleet.ok("nodes", "drain", "gate-1")
    assert "drained" in fleet.ok("nodes", "list")

    fleet.ok("nodes", "remove", "gate-1")
    assert not (node.user_home / ".bongsu").exists()
    assert json.loads(fleet.ok("nodes", "list", "--json")) == []
    actions = [json.loads(line)["action"] for line in (fleet.folder / "audit.jsonl").read_text().splitlines()]
    assert actions == ["node_added", "node_labelled", "node_drained", "node_removed"]


def test_the_register_names_the_key_and_holds_no_secret(fleet: Fleet, new_node: NewNode) -> None:
    add(fleet, new_node("gate"), "gate-1")
    file = fleet.folder / "nodes.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (node,) = yaml.safe_load(file.read_text())["nodes"]
    assert node["key"] == str(fleet.key)
    assert "PRIVATE" not in file.read_text()


def test_a_host_key_is_accepted_once_by_its_operator(fleet: Fleet, new_node: NewNode) -> None:
    node = new_node("gate")
    arguments = ("nodes", "add", "gate-1", "--ssh", node.address, "--key", str(fleet.key))
    refused = fleet.run(*arguments, answer="n\n")
    assert refused.returncode == 1
    assert node.fingerprint in refused.stderr
    assert "its host key was not accepted" in refused.stderr
    assert fleet.run(*arguments, answer="y\n").returncode == 0
    assert json.loads(fleet.ok("nodes", "show", "gate-1", "--now"))["name"] == "gate-1"


def test_another_machine_behind_the_address_is_refused(fleet: Fleet, new_node: NewNode) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    node.stop()
    for file in ("host_key", "host_key.pub"):
        (node.home / file).unlink()
    make_ssh_key(node.home / "host_key")
    node.start()
    assert "is not the one that was verified" in fleet.refused("nodes", "show", "gate-1", "--now")
    assert "Accepted publickey" not in node.log().split("Server listening")[-1]


def test_wrong_fingerprint_key_and_port_are_one_line(fleet: Fleet, new_node: NewNode, tmp_path: Path) -> None:
    node = new_node("gate")
    ssh = ("--ssh", node.address, "--host-key", node.fingerprint)
    wrong = ("--ssh", node.address, "--host-key", "SHA256:nothing")
    assert "is it the right machine?" in fleet.refused("nodes", "add", "a", *wrong, "--key", str(fleet.key))
    other = make_ssh_key(tmp_path / "other")
    assert "does not accept the key" in fleet.refused("nodes", "add", "a", *ssh, "--key", str(other))
    assert "cannot be read: No such file" in fleet.refused("nodes", "add", "a", *ssh, "--key", str(tmp_path / "none"))
    node.stop()
    assert "cannot be reached" in fleet.refused("nodes", "add", "a", *ssh, "--key", str(fleet.key))
    assert "an SSH address is user@host[:port]" in fleet.refused("nodes", "add", "a", "--ssh", "gate")


def test_a_node_that_is_gone_is_removed_by_force_alone(fleet: Fleet, new_node: NewNode) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    node.kill()
    assert "bongsu nodes remove gate-1 --force" in fleet.refused("nodes", "remove", "gate-1")
    done = fleet.run("nodes", "remove", "gate-1", "--force")
    assert done.returncode == 0
    assert "gate-1 was not cleaned" in done.stderr


def test_an_inventory_of_ansible_is_read_and_written(fleet: Fleet, new_node: NewNode, tmp_path: Path) -> None:
    node, other = new_node("gate"), new_node("mill")
    user = node.address.split("@")[0]
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(
        f"""
        # EVC wrote such a file
        [jetson]
        gate-1 ansible_host=127.0.0.1 ansible_port={node.port} ansible_ssh_pass=hunter2
        mill-1 ansible_host=127.0.0.1 ansible_port={other.port}

        [all:vars]
        ansible_user={user}
        ansible_ssh_private_key_file={fleet.key}
        """
    )
    done = fleet.run("nodes", "import", str(inventory), "--accept-host-keys")
    assert done.returncode == 0, done.stderr
    assert "ansible_ssh_pass is left out" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr + (fleet.folder / "nodes.yaml").read_text()
    assert fleet.ok("nodes", "list", "--nodes", "jetson=true").count("127.0.0.1") == 2

    written = tmp_path / "out.ini"
    written.write_text(fleet.ok("nodes", "export"))
    fleet.ok("nodes", "remove", "gate-1")
    fleet.ok("nodes", "import", str(written), "--accept-host-keys")
    assert fleet.ok("nodes", "list", "--nodes", "jetson=true").count("127.0.0.1") == 2
