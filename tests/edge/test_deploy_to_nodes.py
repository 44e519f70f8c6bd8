"""Story 4: a version on nodes, by the commands: from a folder over SSH, and pulled by the nodes from a registry."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.registry import read_verified
from tests.edge.conftest import Fleet
from tests.edge.servers import OciRegistry, SshNode

pytestmark = pytest.mark.connected

MakeModel = Callable[..., Path]
NewNode = Callable[..., SshNode]
BIG = 40_000_000


def add(fleet: Fleet, node: SshNode, name: str, *more: str) -> None:
    fleet.ok(
        "nodes", "add", name, "--ssh", node.address, "--key", str(fleet.key), "--host-key", node.fingerprint, *more
    )


def push(fleet: Fleet, folder: Path) -> str:
    if not (fleet.folder / "keys/signing.pem").exists():
        fleet.ok("models", "keygen")
    return fleet.ok("models", "push", str(folder), "--sign").split()[1]


def current(node: SshNode) -> Path:
    return node.user_home / ".bongsu/models/hazard/current"


def test_a_version_is_put_in_use_and_rolled_back(
    fleet: Fleet, stored: OciRegistry | None, new_node: NewNode, make_model: MakeModel
) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    digests = {}
    for number in ("1", "2", "3"):
        folder = make_model(number, seed=int(number))
        digests[number] = push(fleet, folder)
        said = fleet.ok("models", "deploy", f"hazard:{number}", "--nodes", "gate-1", "--keep", "2")
        assert said.startswith(f"gate-1: hazard:{number} in use, 30")
        assert current(node).resolve().name == digests[number].removeprefix("sha256:")
        # As the detector reads it: only what is recorded beside it is loaded.
        assert read_verified(current(node) / "weights.onnx") == (folder / "weights.onnx").read_bytes()
    assert "hazard:3" in fleet.ok("nodes", "list")
    (model,) = json.loads(fleet.ok("nodes", "show", "gate-1", "--now"))["on_node"]
    assert (model["version"], model["kept"]) == ("3", [digests["2"], digests["3"]])
    blobs = list((node.user_home / ".bongsu/blobs/sha256").iterdir())
    assert sum(blob.stat().st_size for blob in blobs) < 700_000  # the first version's are gone

    assert "hazard:3 in use, 0 B moved" in fleet.ok("models", "deploy", "hazard:3", "--nodes", "all")
    assert fleet.ok("models", "rollback", "hazard", "--nodes", "gate-1") == "gate-1: hazard:2 in use\n"
    assert current(node).resolve().name == digests["2"].removeprefix("sha256:")
    assert "hazard:2" in fleet.ok("nodes", "list")
    assert "is in use on gate-1" in fleet.refused("models", "delete", "hazard:2")


def test_version_switch_is_atomic_for_readers(fleet: Fleet, new_node: NewNode, make_model: MakeModel) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1", seed=1))
    push(fleet, make_model("2", seed=2))
    fleet.ok("models", "deploy", "hazard:1", "--nodes", "gate-1")
    seen, failures, stop = set(), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                folder = current(node).resolve(strict=True)
                read_verified(folder / "weights.onnx")
                seen.add(folder.name)
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    fleet.ok("models", "deploy", "hazard:2", "--nodes", "gate-1")
    fleet.ok("models", "rollback", "hazard", "--nodes", "gate-1")
    stop.set()
    reader.join()
    assert not failures
    assert len(seen) == 2


def test_an_unsigned_or_altered_version_is_refused_by_the_node(
    fleet: Fleet, stored: OciRegistry | None, new_node: NewNode, make_model: MakeModel
) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1"))
    fleet.ok("models", "push", str(make_model("2", seed=2)))
    assert "is not signed" in fleet.refused("models", "deploy", "hazard:2", "--nodes", "gate-1")

    root = fleet.folder / "models/blobs" if stored is None else stored.home / "storage"
    weights = next(f for f in sorted(root.rglob("*")) if f.is_file() and f.stat().st_size == 300_000)
    for file in root.rglob("*"):
        if file.is_file() and file.stat().st_size == 300_000:
            file.chmod(0o600)
            file.write_bytes(bytes(300_000))
    assert "was altered in transfer or in the registry" in fleet.refused(
        "models", "deploy", "hazard:1", "--nodes", "gate-1"
    )
    assert weights.exists()
    assert not current(node).exists()


def test_a_wrong_architecture_is_refused_before_anything_is_sent(
    fleet: Fleet, new_node: NewNode, make_model: MakeModel
) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1", architectures=["riscv64"]))
    assert "wrong architecture: hazard:1 is for riscv64, the node is" in fleet.refused(
        "models", "deploy", "hazard:1", "--nodes", "gate-1"
    )
    assert not (node.user_home / ".bongsu/blobs").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 30 MB for the home of the node `gate`."""
    home = tmp_path / "gate/home"
    home.mkdir(parents=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(home)]).returncode:
        pytest.skip("mounting a small file system needs root")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_full_disk_is_refused_in_one_line(
    small_disk: Path, fleet: Fleet, stored: OciRegistry | None, new_node: NewNode, make_model: MakeModel
) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1", size=20_000_000))
    said = fleet.refused("models", "deploy", "hazard:1", "--nodes", "gate-1")
    assert said.startswith("bongsu: node 'gate-1': disk full: 20.0 MB and 17 MB to spare are needed in ")
    assert not current(node).exists()


def test_a_node_that_is_lost_in_the_middle_goes_on_from_there(
    fleet: Fleet, stored: OciRegistry | None, new_node: NewNode, make_model: MakeModel
) -> None:
    gate, mill = new_node("gate"), new_node("mill")
    add(fleet, gate, "gate-1")
    add(fleet, mill, "mill-1")
    push(fleet, make_model("1", size=BIG))
    deploying = fleet.start("models", "deploy", "hazard:1", "--nodes", "all")
    wait_for_part(gate, BIG // 2, deploying)
    gate.kill()
    out, errors = deploying.communicate(timeout=60)
    assert deploying.returncode == 1
    assert "node 'gate-1' was lost" in errors
    assert "the same command continues from there" in errors
    assert "mill-1: hazard:1 in use" in out

    gate.start()
    said = fleet.ok("models", "deploy", "hazard:1", "--nodes", "gate-1")
    moved_mb = float(said.split(" in use, ")[1].split()[0])
    assert said.strip().endswith("MB moved")
    assert moved_mb < 0.6 * BIG / 1e6
    assert (current(gate) / "weights.onnx").stat().st_size == BIG


def test_lost_registry_costs_only_the_rest(
    fleet: Fleet, registry: OciRegistry, new_node: NewNode, make_model: MakeModel
) -> None:
    fleet.environment |= registry.environment
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1", size=BIG))
    deploying = fleet.start("models", "deploy", "hazard:1", "--nodes", "all")
    wait_for_part(node, BIG // 2, deploying)
    registry.kill()
    time.sleep(0.7)
    registry.start()
    out, errors = deploying.communicate(timeout=60)
    assert deploying.returncode == 0, errors
    assert "gate-1: hazard:1 in use" in out
    asked_again = [size for path, status, size in registry.sent() if "blobs" in path and status == 206]
    assert asked_again
    assert max(asked_again) < 0.6 * BIG


def test_when_the_canary_fails_nobody_else_is_touched(fleet: Fleet, new_node: NewNode, make_model: MakeModel) -> None:
    nodes = {name: new_node(name) for name in ("a", "b")}
    for name, node in nodes.items():
        add(fleet, node, name)
    push(fleet, make_model("1"))
    nodes["a"].stop()
    done = fleet.run("models", "deploy", "hazard:1", "--nodes", "all", "--canary", "1")
    assert done.returncode == 1
    assert "node 'b': not tried: the canary a failed" in done.stderr
    assert not (nodes["b"].user_home / ".bongsu/models").exists()


def test_a_drained_node_is_passed_over(fleet: Fleet, new_node: NewNode, make_model: MakeModel) -> None:
    for name in ("a", "b"):
        add(fleet, new_node(name), name)
    push(fleet, make_model("1"))
    fleet.ok("nodes", "drain", "a")
    assert fleet.ok("models", "deploy", "hazard:1", "--nodes", "all").splitlines()[0].startswith("b: hazard:1 in use")
    assert "is drained" in fleet.refused("models", "deploy", "hazard:1", "--nodes", "a")


def test_a_file_that_was_altered_on_the_node_is_fetched_anew(
    fleet: Fleet, new_node: NewNode, make_model: MakeModel
) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    folder = make_model("1")
    push(fleet, folder)
    fleet.ok("models", "deploy", "hazard:1", "--nodes", "gate-1")
    weights = current(node) / "weights.onnx"
    weights.chmod(0o600)
    weights.write_bytes(b"altered")
    fleet.ok("models", "deploy", "hazard:1", "--nodes", "gate-1")
    assert weights.read_bytes() == (folder / "weights.onnx").read_bytes()


def wait_for_part(node: SshNode, size: int, running: subprocess.Popen[str]) -> None:
    """Until so many bytes of a blob have come."""
    blobs = node.user_home / ".bongsu/blobs/sha256"
    end = time.monotonic() + 60
    while time.monotonic() < end and running.poll() is None:
        for part in blobs.glob("*.part") if blobs.exists() else ():
            try:
                if size <= part.stat().st_size < 2 * size:
                    return
            except FileNotFoundError:
                break
        time.sleep(0.002)
    raise AssertionError(f"no part of {size} bytes was seen: {running.communicate() if running.poll() else 'too fast'}")
