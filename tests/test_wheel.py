"""What a user gets who installs the wheel and has no checkout: the demo runs from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.rooms import ROOMS

ROOT = Path(__file__).parents[1]
_INCIDENTS_S = 90.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into, alone: what it needs is taken from this environment."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in (*ROOMS, "keda", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", built, source], check=True, capture_output=True)
    (wheel,) = built.glob("bongsu-*.whl")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder, wheel], check=True, capture_output=True)
    return folder


@pytest.fixture
def empty() -> Iterator[Path]:
    """The folder that the demo is started in: sockets lie below it, so its path is short."""
    with tempfile.TemporaryDirectory(prefix="bongsu-wheel-") as folder:
        yield Path(folder)


@pytest.fixture
def demo(site: Path, empty: Path, tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"import {', '.join(ROOMS)}; print([next(iter(m.__path__)) for m in ({', '.join(ROOMS)})], flush=True); "
    code += "from functions.cli import main; main()"
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "run", "--demo", "--port", str(port)],
            cwd=empty, env={**os.environ, "PYTHONPATH": str(site)}, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    yield port, process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_installed_demo_shows_three_incidents(
    site: Path, empty: Path, demo: tuple[int, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    port, process = demo
    give_up_at = time.monotonic() + _INCIDENTS_S
    hazards: set[str] = set()
    while len(hazards) < 3 and time.monotonic() < give_up_at and process.poll() is None:
        time.sleep(1)
        hazards |= incidents(port)
    output = (tmp_path / "output").read_text()
    assert hazards == {"accident", "fire", "gun"}, output
    assert output.splitlines()[0] == str([str(site / room) for room in ROOMS]), "a room is not that of the wheel"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    # The standard library's resource tracker ends a moment after the process that it tracks for.
    assert psutil.wait_procs(family, timeout=5)[1] == []
    state = empty / "state"
    assert [path for path in (state, *state.rglob("*")) if path.stat().st_mode & 0o077] == []


@pytest.mark.slow
def test_every_package_of_the_wheel_has_its_types(site: Path) -> None:
    assert [room for room in ROOMS if room != "keda" and not (site / room / "py.typed").is_file()] == []


def incidents(port: int) -> set[str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/incidents", timeout=5) as answer:
            return {feature["properties"]["hazard"] for feature in json.load(answer)["features"]}
    except (urllib.error.URLError, OSError):
        return set()
