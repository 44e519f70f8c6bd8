"""The clients of docs/sessions.md do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/sessions.md").read_text("utf-8")


def program(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_python_client_gets_a_class(base: str, tmp_path: Path) -> None:
    file = tmp_path / "client.py"
    file.write_text(program("python"))
    done = subprocess.run([sys.executable, str(file), base], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["label"] in ("accident", "fire", "gun", "knife")


def test_the_javascript_client_gets_boxes(base: str, jpeg: bytes, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    file, picture = tmp_path / "client.mjs", tmp_path / "frame.jpg"
    file.write_text(program("javascript"))
    picture.write_bytes(jpeg)
    command = [node, "--no-warnings", "--experimental-websocket", str(file), base, str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


def test_the_go_client_gets_a_class(base: str, tmp_path: Path) -> None:
    go, libraries = shutil.which("go"), Path("/usr/share/gocode")
    if go is None or not (libraries / "src/github.com/gorilla/websocket").is_dir():
        pytest.skip("golang-go and golang-github-gorilla-websocket-dev are not installed")
    (tmp_path / "client.go").write_text(program("go"))
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(libraries), "GOCACHE": str(tmp_path / "cache")}
    command = [go, "run", str(tmp_path / "client.go"), base]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"label:(accident|fire|gun|knife)", done.stdout)


def test_the_shell_command_gets_a_session(base: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    command = program("sh").replace("http://127.0.0.1:8090", base)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["state"] == "ready", done.stdout + done.stderr


def test_the_table_names_every_setting_that_the_page_uses() -> None:
    from api.settings import Settings as ApiSettings
    from sessions.settings import Settings

    known = {*Settings.__struct_encode_fields__, *ApiSettings.__struct_encode_fields__}
    assert set(re.findall(r"BONGSU_[A-Z_]+", PAGE)) <= known
