"""Story 7: one file for the fleet, and what a configuration of EVC becomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.edge.conftest import Fleet
from tests.edge.servers import SshNode

NewNode = Callable[..., SshNode]
MakeModel = Callable[..., Path]


def write(path: Path, content: object) -> str:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


@pytest.mark.connected
def test_a_fleet_becomes_what_the_file_says_and_stays_so(
    fleet: Fleet, new_node: NewNode, make_model: MakeModel, tmp_path: Path
) -> None:
    gate, mill = new_node("gate"), new_node("mill")
    fleet.ok("models", "keygen")
    folders = [make_model(number, seed=int(number)) for number in ("1", "2")]

    def entry(node: SshNode, **more: object) -> dict[str, object]:
        return {"ssh": node.address, "key": str(fleet.key), "host_key": node.fingerprint, **more}

    content: dict[str, object] = {
        "nodes": {"gate-1": entry(gate, labels={"site": "harbour"}), "mill-1": entry(mill)},
        "models": [{"version": "hazard:1", "nodes": "site=harbour", "push": folders[0].name}],
    }
    file = write(tmp_path / "fleet.yaml", content)
    plan = fleet.ok("fleet", "plan", file)
    assert [line.split(":")[0] for line in plan.splitlines()] == [
        "add gate-1", "add mill-1", "push hazard", "deploy hazard",
    ]  # fmt: skip
    assert not (fleet.folder / "nodes.yaml").exists()  # a plan changes nothing
    assert fleet.ok("fleet", "apply", file) == plan
    assert (gate.user_home / ".bongsu/models/hazard/current").exists()
    assert not (mill.user_home / ".bongsu/models").exists()

    begun = time.perf_counter()
    again = fleet.run("fleet", "apply", file)
    took_s = time.perf_counter() - begun
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "nothing to do\n")
    assert took_s < 2

    mill.kill()
    content["models"] = [{"version": "hazard:2", "push": folders[1].name}]
    write(tmp_path / "fleet.yaml", content)
    half = fleet.run("fleet", "apply", file)
    assert half.returncode == 1
    assert "deploy hazard:2 to mill-1: node 'mill-1'" in half.stderr
    assert "gate-1" not in fleet.ok("fleet", "plan", file)  # it has its version, and mill-1 is left
    mill.start()

    del content["nodes"]["mill-1"]  # type: ignore[attr-defined]
    content["nodes"]["gate-1"] |= {"labels": {"site": "quay"}, "drained": True}  # type: ignore[index]
    content["models"] = []
    write(tmp_path / "fleet.yaml", content)
    kept = fleet.run("fleet", "plan", file)
    assert kept.stdout == "change gate-1: labels site=harbour -> site=quay; drained false -> true\n"
    assert "mill-1 is registered, but not in the file: --prune removes it" in kept.stderr
    done = fleet.ok("fleet", "apply", file, "--prune")
    assert done.splitlines()[1] == "remove mill-1: it is not in the file"
    assert not (mill.user_home / ".bongsu").exists()
    assert "mill-1" not in fleet.ok("nodes", "list")
    assert "drained" in fleet.ok("nodes", "list")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"nodes": {"gate-1": {"ssh": "nowhere"}}}, "user@host[:port], got 'nowhere'"),
        ({"nodes": {"gate-1": {"ssh": "a@b", "keys": "x"}}}, "unknown field `keys`"),
        ({"nodes": {"g": {"ssh": "a@b"}}, "models": [{"version": "m:1"}, {"version": "m:2"}]}, "both m:1 and m:2"),
        ({"nodes": {"g": {"ssh": "a@b"}}, "models": [{"version": "m:1", "nodes": "h"}]}, "no node 'h'"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(fleet: Fleet, tmp_path: Path, content: object, said: str) -> None:
    assert said in fleet.refused("fleet", "plan", write(tmp_path / "fleet.yaml", content))


def test_a_configuration_of_evc_becomes_a_file_and_notes(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[nano]\nn01 ansible_host=10.0.0.7 ansible_user=evc ansible_ssh_pass=hunter2\n")
    steps = [
        {"activation": "register", "inventory": "hosts.ini"},
        {"activation": "download", "model_name": "Re ID", "version": "v1", "url": "https://example.org/reid.git"},
        {"activation": "train", "model_name": "reid"},
        {"activation": "pred", "model_name": "reid", "version": "v1", "data": "./images"},
        {"activation": "mon_d"},
        {"activation": "mon_m"},
        {"activation": "dance"},
    ]
    done = fleet.run("fleet", "import", write(tmp_path / "ServerConfig.yaml", steps))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == {
        "nodes": {"n01": {"ssh": "evc@10.0.0.7:22", "labels": {"nano": "true"}}},
        "models": [{"version": "re-id:v1"}],
    }
    for said in (
        "ansible_ssh_pass is left out", "step 2 (download)", "step 3 (train)", "bongsu models run reid:v1 --on NODE "
        "--input ./images", "bongsu nodes watch", "step 6 (mon_m)", "the activation 'dance' is unknown",
    ):  # fmt: skip
        assert said in done.stderr, said
    assert "hunter2" not in done.stdout + done.stderr
    (tmp_path / "imported.yaml").write_text(done.stdout)
    assert "add n01" in fleet.ok("fleet", "plan", str(tmp_path / "imported.yaml"))
    assert "no step with an `activation`" in fleet.refused("fleet", "import", write(tmp_path / "x.yaml", {"a": 1}))


def test_evc_s_own_files_become_nodes_and_versions(fleet: Fleet, tmp_path: Path) -> None:
    """In the form of the files that EVC came with."""
    (tmp_path / "hosts.ini").write_text(
        "[builder]\nn01 ansible_host=10.0.0.1 ansible_port=39001\n[user:children]\nmill_rpi\n"
        "[mill_rpi]\nrpi6402 ansible_host=10.0.0.2 ansible_port=39002\n"
    )
    run = tmp_path / "EVC_RunTest"
    run.mkdir()
    paths = {"hosts_file": "../hosts.ini", "db": "../db/edge_logs.db3", "registry": "r.example.org:20093"}
    configuration = {
        "activations": ["register", "download", "delete", "train", "pred", "mon_d", "mon_m"],
        "builder": [{"name": "n01", "ip": "10.0.0.1", "port": 39001, "hw": "rpi", "os": "linux", "gpu": "None"}],
        "where": ["rpi6402"],
        "path": paths,
        "autorun": [
            {"name": "build AI model image", "activation": "register", "path": paths},
            {"name": "deploy AI model image", "activation": "download", "path": paths},
            {"name": "activate AI model", "activation": "run", "path": paths},
        ],
        "customized_runs": [
            {"name": "delete_config 1", "activation": "delete", "node": ["rpi6402"], "path": paths,
             "vars": {"model_name": "plate_detector", "version": "v0.9", "repo": "aarch64-model"}},
            {"name": "my_run_config 1", "activation": "download", "node": ["rpi6402"], "path": paths,
             "vars": {"model_name": "plate_detector", "version": "v1.0", "repo": "aarch64-model"}},
        ],
    }  # fmt: skip
    target = {"mill_rpi": [{"name": "rpi6402", "ip": "10.0.0.2", "port": 39002, "hw": "rpi", "os": "linux"}]}
    project = {"activation": "gradio", "group": ["mill_rpi"], "target": target, "owner": "mill", "model_name": "smoke",
               "version": "2.0", "task": "detection", "arch": "aarch64", "data": "/home/data.yaml"}  # fmt: skip
    write(run / "myEVCconfig.yaml", project)
    path = write(run / "ServerConfig.yaml", configuration)
    done = fleet.run("fleet", "import", path, "--user", "evc")
    assert done.returncode == 0, done.stderr
    imported = yaml.safe_load(done.stdout)
    assert imported["models"] == [
        {"version": "smoke:2.0", "nodes": "mill_rpi=true"}, {"version": "plate_detector:v1.0", "nodes": "rpi6402"},
    ]  # fmt: skip
    assert imported["nodes"]["n01"]["ssh"] == "evc@10.0.0.1:39001"
    assert imported["nodes"]["rpi6402"]["labels"] == {"mill_rpi": "true", "hw": "rpi", "os": "linux", "user": "true"}
    for said in ("step 1 (register)", "bongsu models run smoke:2.0 --on NODE --input /home/data.yaml",
                 "bongsu models delete plate_detector:v0.9"):  # fmt: skip
        assert said in done.stderr, said
    (tmp_path / "imported.yaml").write_text(done.stdout)
    assert "add rpi6402" in fleet.ok("fleet", "plan", str(tmp_path / "imported.yaml"))
    assert "no SSH user: name one with --user" in fleet.run("fleet", "import", path).stderr
