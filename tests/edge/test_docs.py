"""The commands of docs/fleet.md, in their order, against a real node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.edge.conftest import Fleet
from tests.edge.servers import SshNode
from tests.edge.test_run_on_nodes import CAMERAS, make_environment, picture

DOCS = (Path(__file__).resolve().parents[2] / "docs/fleet.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


@pytest.mark.connected
def test_every_command_of_the_docs_does_what_it_says(
    fleet: Fleet, new_node: Callable[..., SshNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = new_node("gate")
    monkeypatch.chdir(tmp_path)
    _, card, fleet_file = re.findall(r"^```yaml\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)
    stands_for = {"pi@10.0.0.7": node.address, "~/.ssh/edge": str(fleet.key)}
    for documented, real in stands_for.items():
        fleet_file = fleet_file.replace(documented, real)
    Path("fleet.yaml").write_text(fleet_file)
    folder = tmp_path / "hazard"
    folder.mkdir()
    (folder / "model.yaml").write_text(card)
    (folder / yaml.safe_load(card)["weights"]).write_bytes(b"weights" * 1000)
    picture(tmp_path / "pictures", "fire", 9)
    make_environment(node)
    (node.user_home / ".bongsu/cameras.yaml").write_text(CAMERAS)
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "bongsu"
        done = fleet.run(*(stands_for.get(a, a) for a in arguments), answer="y\n")
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    assert not (node.user_home / ".bongsu").exists()
    assert (tmp_path / "copy/hazard.onnx").read_bytes() == b"weights" * 1000
