"""The Dockerfile, read as text: what it copies exists, versions agree, and nothing runs as root."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.k8s.conftest import load_script
from tests.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
STAGES = {
    match[2]: match[0] for match in re.finditer(r"^FROM (\S+) AS (\S+)\n(?:(?!^FROM ).*\n?)*", DOCKERFILE, re.MULTILINE)
}
SERVICES = ["motion", "detect", "detect-cuda", "function", "caption", "api", "sessions", "fleet"]


def test_there_is_a_stage_for_each_image() -> None:
    assert set(SERVICES) <= set(STAGES)
    assert {f"build-{service}" for service in SERVICES} <= set(STAGES)


def test_copied_files_exist_and_reach_the_builder() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), f"COPY {source}: no such file"
        assert source in allowed, f"COPY {source}: .dockerignore keeps it from the builder: add !{source}"
    assert set(allowed) == set(copied)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_takes_its_own_packages_and_is_not_root(service: str) -> None:
    assert STAGES[service].startswith("FROM runtime ")
    assert f"COPY --from=build-{service} /opt/bongsu /opt/bongsu" in STAGES[service]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", STAGES["runtime"], re.MULTILINE)
    assert "USER" not in STAGES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_build_installs_packages_before_rooms(service: str) -> None:
    steps = re.findall(r"^(?:RUN install-bongsu (\w+)|COPY (\w+))", STAGES[f"build-{service}"], re.MULTILINE)
    names = [step or "copy" for step, _ in steps]
    assert names[0] == "packages"
    assert names[-1] == "rooms"
    assert names.index("copy") > names.index("packages")


@pytest.mark.parametrize("service", SERVICES)
def test_image_has_every_room_that_its_rooms_import(service: str) -> None:
    rooms = set(re.findall(r"^COPY (\w+)(?:/\S+)? \S+$", STAGES[f"build-{service}"], re.MULTILINE)) & set(ROOMS)
    # The captioner draws the outlines that lie with the page; it imports nothing of the API.
    running = rooms - {"api"} if service == "caption" else rooms
    imported = {name for room in running for path in (ROOT / room).rglob("*.py") for name in rooms_imported(path)}
    assert imported <= running


def rooms_imported(path: Path) -> set[str]:
    """Our rooms that a module imports, at its top or when a function of it is called; not for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in named} & set(ROOMS)


def test_versions_agree_with_what_was_tested() -> None:
    pinned = dict(re.findall(r"^(\S+?)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    (cuda,) = re.findall(r"onnxruntime-gpu\[[a-z,]+\]==([\d.]+)", DOCKERFILE)
    assert cuda == pinned["onnxruntime"]
    tools = {
        version
        for path in ("docker/Dockerfile", "docker/build-offline.sh")
        for version in re.findall(r"setuptools==([\d.]+)", (ROOT / path).read_text())
    }
    assert len(tools) == 1


def test_base_images_are_pinned() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base)
    assert "latest" not in DOCKERFILE


@pytest.mark.parametrize("path", sorted([*ROOT.glob("docker/*.sh"), *ROOT.glob("k8s/*.sh")]), ids=lambda p: p.name)
def test_a_script_is_valid_shell(path: Path) -> None:
    assert subprocess.run([shutil.which("sh") or "sh", "-n", path], capture_output=True).returncode == 0


def test_a_stripped_module_is_smaller_and_works(tmp_path: Path) -> None:
    source = next((Path(msgspec.__file__).parent).glob("_core*.so"))
    module = tmp_path / source.name
    # As a wheel that was built without `-s`: symbols behind what is loaded.
    module.write_bytes(source.read_bytes() + b"symbols" * 1000)
    strip = load_script(ROOT / "docker/strip.py").strip
    assert strip(module) >= 7000
    assert strip(module) == 0
    code = "import importlib.util as u, sys; s = u.spec_from_file_location('msgspec._core', sys.argv[1]); "
    code += "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.JSONEncoder().encode([1]))"
    done = subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True)
    assert done.stdout == "b'[1]'\n", done.stderr
    (tmp_path / "text.so").write_text("not a library")
    assert strip(tmp_path / "text.so") == 0
