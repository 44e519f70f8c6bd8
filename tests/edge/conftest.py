"""A fleet in a folder of its own: its commands run as processes, its nodes are real SSH servers."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.__main__ import edge
from tests.edge.servers import SEARCHED, OciRegistry, SshNode, make_ssh_key

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Fleet:
    """The commands of one fleet."""

    folder: Path
    key: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "edge", *arguments], env=self._environ(), cwd=ROOT, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, answer: str = "") -> Done:
        """What a command prints and its status; in this process, for starting one costs a second of CPU."""
        done = CliRunner().invoke(edge, list(arguments), input=answer, env=self._environ(), prog_name="bongsu")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def ok(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """The one line of a command that must fail."""
        done = self.run(*arguments)
        assert done.returncode != 0, f"{arguments}: {done.stdout}"
        return done.stderr.strip().splitlines()[-1]

    def _environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BONGSU_FLEET": str(self.folder),
            **self.environment,
        }


def deploy_here(fleet: Fleet, make_model: Callable[..., Path]) -> None:
    """Make this machine the node `desk`, with version 1 of `hazard` in use; version 2 waits in the registry."""
    fleet.ok("nodes", "add", "desk", "--here")
    fleet.ok("models", "keygen")
    for number in ("1", "2"):
        fleet.ok("models", "push", str(make_model(number, seed=int(number))), "--sign")
    fleet.ok("models", "deploy", "hazard:1", "--nodes", "desk")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen: apt-get install openssh-client")
    return Fleet(tmp_path / "fleet", make_ssh_key(tmp_path / "id"))


@pytest.fixture
def new_node(tmp_path: Path, fleet: Fleet) -> Iterator[Callable[..., SshNode]]:
    """Starts SSH servers; `name` and a folder that is its home, if it is not to be a new one."""
    if shutil.which("sshd", path=SEARCHED) is None:
        pytest.skip("no sshd: apt-get install openssh-server")
    started: list[SshNode] = []

    def start(name: str) -> SshNode:
        node = SshNode(tmp_path / name, fleet.key)
        node.start()
        started.append(node)
        return node

    yield start
    for node in started:
        node.stop()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[OciRegistry]:
    if shutil.which("docker-registry", path=SEARCHED) is None:
        pytest.skip("no docker-registry: apt-get install docker-registry")
    server = OciRegistry(tmp_path / "registry")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model's folder; its weights are noise of a seed, so that two versions of one seed share them."""

    def make(version: str, *, seed: int = 1, size: int = 300_000, **card: object) -> Path:
        folder = tmp_path / f"model-{version}"
        folder.mkdir()
        (folder / "weights.onnx").write_bytes(random.Random(seed).randbytes(size))
        lines = {
            "name": "hazard",
            "version": version,
            "weights": "weights.onnx",
            "licence": "AGPL-3.0-or-later",
            **card,
        }
        (folder / "model.yaml").write_text("".join(f"{key}: {value!r}\n" for key, value in lines.items()))
        (folder / "README.md").write_text("# A model\n")
        return folder

    return make


@pytest.fixture(params=["layout", "server"])
def stored(request: pytest.FixtureRequest, fleet: Fleet) -> OciRegistry | None:
    """Each test runs with both kinds of registry; None: the folder."""
    if request.param == "layout":
        return None
    server: OciRegistry = request.getfixturevalue("registry")
    fleet.environment |= server.environment
    return server
