"""Story 3: models in a folder in OCI layout, and in a real registry with TLS, a private authority and a user."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge.conftest import Fleet
from tests.edge.servers import OciRegistry, SshNode

pytestmark = pytest.mark.connected

MakeModel = Callable[..., Path]


def test_a_version_is_pushed_listed_shown_and_pulled(
    fleet: Fleet, stored: OciRegistry | None, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model("2026.11.1", labels=["fire", "gun"], thresholds={"fire": 0.4}, input_px=320)
    assert "hazard:2026.11.1  sha256:" in fleet.ok("models", "push", str(folder))
    listed = json.loads(fleet.ok("models", "list", "--json"))
    assert [(m["name"], m["version"], m["signed"]) for m in listed] == [("hazard", "2026.11.1", False)]
    shown = json.loads(fleet.ok("models", "show", "hazard:2026.11.1"))
    assert shown["card"]["thresholds"] == {"fire": 0.4}
    assert [f["name"] for f in shown["files"]] == ["weights.onnx", "README.md", "model.yaml"]

    fleet.ok("models", "pull", f"hazard@{shown['digest']}", "--into", str(tmp_path / "pulled"))
    for name in ("weights.onnx", "README.md"):
        assert (tmp_path / "pulled" / name).read_bytes() == (folder / name).read_bytes()


def test_version_cannot_be_pushed_with_other_content(
    fleet: Fleet, stored: OciRegistry | None, make_model: MakeModel
) -> None:
    folder = make_model("2026.11.1")
    first = fleet.ok("models", "push", str(folder))
    assert fleet.ok("models", "push", str(folder)) == first
    (folder / "weights.onnx").write_bytes(b"other")
    assert "exists with other content" in fleet.refused("models", "push", str(folder))


def test_shared_files_are_stored_once_and_freed_last(
    fleet: Fleet, stored: OciRegistry | None, make_model: MakeModel
) -> None:
    def on_disk() -> int:
        if stored is not None:
            return stored.bytes_on_disk()
        return sum(f.stat().st_size for f in (fleet.folder / "models/blobs").rglob("*") if f.is_file())

    fleet.ok("models", "push", str(make_model("1", seed=1)))
    one = on_disk()
    fleet.ok("models", "push", str(make_model("2", seed=1)))
    assert on_disk() - one < 10_000
    fleet.ok("models", "push", str(make_model("3", seed=3)))
    assert on_disk() - one > 300_000
    said = fleet.ok("models", "delete", "hazard:3")
    assert "hazard:3 deleted" in said
    if stored is None:
        assert "freed" in said
        assert on_disk() - one < 10_000
    else:
        assert "docker-registry garbage-collect" in said
    assert [m["version"] for m in json.loads(fleet.ok("models", "list", "--json"))] == ["1", "2"]
    assert "no model hazard:3" in fleet.refused("models", "pull", "hazard:3")


def test_signed_altered_and_unsigned_are_told_apart(
    fleet: Fleet, stored: OciRegistry | None, make_model: MakeModel, tmp_path: Path
) -> None:
    fleet.ok("models", "keygen")
    fleet.ok("models", "push", str(make_model("1")))
    assert "is not signed" in fleet.refused("models", "verify", "hazard:1")
    fleet.ok("models", "sign", "hazard:1")

    assert fleet.ok("models", "verify", "hazard:1").startswith("hazard:1 is signed by a trusted key: sha256:")

    stranger = Fleet(tmp_path / "stranger", fleet.key, dict(fleet.environment))
    if stored is None:
        stranger.environment["BONGSU_MODEL_REGISTRY"] = str(fleet.folder / "models")
    stranger.ok("models", "keygen")
    assert "none is of it by a trusted key" in stranger.refused("models", "verify", "hazard:1")

    root = fleet.folder / "models/blobs" if stored is None else stored.home / "storage"
    weights = next(f for f in root.rglob("*") if f.is_file() and f.stat().st_size == 300_000)
    weights.chmod(0o600)
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    assert "weights.onnx was altered" in fleet.refused("models", "verify", "hazard:1")
    assert "was altered or truncated" in fleet.refused("models", "pull", "hazard:1", "--into", str(tmp_path / "p"))
    assert not list((tmp_path / "p").glob("weights.onnx"))


def test_the_scores_of_two_versions_are_compared(
    fleet: Fleet, stored: OciRegistry | None, make_model: MakeModel
) -> None:
    fleet.ok("models", "push", str(make_model("1", metrics={"map50": 0.7, "false_alarms": 3.0})))
    fleet.ok("models", "push", str(make_model("2", seed=2, metrics={"map50": 0.75, "false_alarms": 5.0, "recall": 0.9},
                                              lower_is_better=["false_alarms"])))  # fmt: skip
    changes = {
        c["what"]: c["verdict"] for c in json.loads(fleet.ok("models", "diff", "hazard:1", "hazard:2", "--json"))
    }
    assert changes["map50"] == "better"
    assert changes["false_alarms"] == "worse"
    assert changes["recall"] == "added"
    assert changes["file weights.onnx"] == "changed"
    assert "+0.05 better" in fleet.ok("models", "diff", "hazard:1", "hazard:2")


def test_a_pull_that_was_cut_off_goes_on(
    fleet: Fleet, stored: OciRegistry | None, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model("1")
    fleet.ok("models", "push", str(folder))
    shown = json.loads(fleet.ok("models", "show", "hazard:1"))
    weights = next(f for f in shown["files"] if f["name"] == "weights.onnx")
    into = tmp_path / "pulled"
    into.mkdir()
    content = (folder / "weights.onnx").read_bytes()
    (into / f".weights.onnx.{weights['digest'][7:19]}.part").write_bytes(content[:200_000])
    fleet.ok("models", "pull", "hazard:1", "--into", str(into))
    assert (into / "weights.onnx").read_bytes() == content
    if stored is not None:
        sizes = [size for path, status, size in stored.sent() if weights["digest"] in path and status == 206]
        assert sizes == [100_000]


def test_a_file_alone_needs_a_name_and_a_version(fleet: Fleet, make_model: MakeModel) -> None:
    weights = make_model("1") / "weights.onnx"
    assert "say --name and --version" in fleet.refused("models", "push", str(weights))
    fleet.ok("models", "push", str(weights), "--name", "yard", "--version", "1", "--metric", "map50=0.5")
    assert json.loads(fleet.ok("models", "show", "yard:1"))["card"]["metrics"] == {"map50": 0.5}


def test_bad_cards_are_one_line(fleet: Fleet, make_model: MakeModel) -> None:
    assert "threshold is given for 'gun'" in fleet.refused(
        "models", "push", str(make_model("1", labels=["fire"], thresholds={"gun": 0.4}))
    )
    assert "architecture 'sparc' is not one of" in fleet.refused(
        "models", "push", str(make_model("2", architectures=["sparc"]))
    )
    assert "has no / and no leading dot" in fleet.refused("models", "push", str(make_model("3", weights="../passwd")))
    assert "unknown field `colour`" in fleet.refused("models", "push", str(make_model("4", colour="red")))
    assert "letters, digits and . _ -" in fleet.refused("models", "push", str(make_model("a b")))


def test_registry_needs_its_authority_and_user(
    fleet: Fleet, registry: OciRegistry, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = str(make_model("1"))
    fleet.environment["BONGSU_MODEL_REGISTRY"] = registry.url
    assert "name its authority in BONGSU_MODEL_REGISTRY_CA" in fleet.refused("models", "push", folder)
    fleet.environment["BONGSU_MODEL_REGISTRY_CA"] = str(registry.ca)
    assert "asks for a user" in fleet.refused("models", "push", folder)
    wrong = tmp_path / "wrong"
    wrong.write_text("guessed")
    fleet.environment |= {**registry.environment, "BONGSU_MODEL_REGISTRY_PASSWORD_FILE": str(wrong)}
    assert "refuses this user (HTTP 401)" in fleet.refused("models", "push", folder)
    registry.stop()
    assert "cannot be reached" in fleet.refused("models", "list")


def test_the_garbage_of_a_server_is_collected_on_its_node(
    fleet: Fleet, registry: OciRegistry, new_node: Callable[..., SshNode], make_model: MakeModel
) -> None:
    fleet.environment |= registry.environment
    node = new_node("store")
    fleet.ok("nodes", "add", "store", "--ssh", node.address, "--key", str(fleet.key), "--host-key", node.fingerprint)
    fleet.ok("models", "push", str(make_model("1")))
    before = registry.bytes_on_disk()
    fleet.ok("models", "push", str(make_model("2", seed=2)))
    said = fleet.ok("models", "delete", "hazard:2", "--collect-on", "store", "--registry-config", str(registry.config))
    assert "garbage collected on store: " in said
    assert "0 blobs deleted" not in said
    assert registry.bytes_on_disk() - before < 10_000
    fleet.ok("models", "pull", "hazard:1", "--into", str(fleet.folder / "kept"))
