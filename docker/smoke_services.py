"""The images that no alert passes through, in `smoke_test.py`: sessions and fleet, each doing its work once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from smoke_containers import RESTRICTED, free_port, get, wait_for
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent
_ISSUE = """
from pathlib import Path
from edge.tokens import TokenFile
print(TokenFile(Path("/var/lib/bongsu/fleet")).issue("smoke"))
"""
_ROW = [0.5, 0.5, 0.2, 0.3]


def check_services(tag: str) -> int:
    """Start both in containers and use them; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="bongsu-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            _check_sessions(tag, folder / "sessions")
            _check_fleet(tag, folder / "fleet")
        except (AssertionError, OSError, WebSocketException, subprocess.CalledProcessError) as error:
            print(f"{type(error).__name__}: {error} {getattr(error, 'stderr', '')}")
            return 1
    return 0


class _Image:
    """One image with one volume of its own; containers end with it."""

    def __init__(self, image: str, folder: Path, mount: str, environment: dict[str, str]) -> None:
        folder.mkdir()
        os.chown(folder, 10001, 10001)
        self._image, self._names = image, list[str]()
        variables = [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]
        self._options = [*RESTRICTED, "-v", f"{folder}:{mount}", *variables]

    def __enter__(self) -> _Image:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)

    def start(self, *command: str, **variables: str) -> None:
        """Run a command until the end of `with`."""
        self._names.append(f"smoke-{os.getpid()}-{command[-1]}")
        more = [part for key, value in variables.items() for part in ("-e", f"{key}={value}")]
        self._run("--detach", "--name", self._names[-1], *more, command=command)

    def once(self, *command: str) -> str:
        """What a command prints."""
        return self._run("--rm", command=command)

    def _run(self, *options: str, command: tuple[str, ...]) -> str:
        whole = ["docker", "run", *options, *self._options, self._image, *command]
        return subprocess.run(whole, check=True, capture_output=True, text=True).stdout

    def stop(self) -> None:
        """Stop all; each must end with status 0."""
        for name in self._names:
            subprocess.run(["docker", "stop", "--time", "60", name], check=True, capture_output=True)
            shown = subprocess.run(["docker", "inspect", name], check=True, capture_output=True, text=True)
            code = json.loads(shown.stdout)[0]["State"]["ExitCode"]
            assert code == 0, f"{name} ended with status {code}"


def _check_sessions(tag: str, folder: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    environment = {
        # The agent's workers listen on sockets in TMPDIR, which the server must see.
        "TMPDIR": "/state",
        "BONGSU_SESSIONS_ASK": "open", "BONGSU_SESSIONS_STATE": "/state", "BONGSU_SESSIONS_HOST": "127.0.0.1",
        "BONGSU_SESSIONS_PORT": str(port),
    }  # fmt: skip
    with _Image(f"bongsu/sessions:{tag}", folder, "/state", environment) as image:
        image.start("python", "-m", "sessions.agent")
        image.start("python", "-m", "sessions.server")
        wait_for(lambda: bool(get(f"{base}/healthz")), 120)
        picture = (ROOT / "docs/post-map.jpg").read_bytes()
        for kind, sent in (("scalar", json.dumps({"n": 1, "row": _ROW})), ("object", picture)):
            session = _asked(base, kind)
            with connect(session["url"], additional_headers={"Authorization": f"Bearer {session['token']}"}) as ws:
                ws.recv(60)
                ws.send(sent)
                result = json.loads(ws.recv(60))
            assert result["type"] == "result", result
            ended = urllib.request.Request(f"{base}/sessions/{session['id']}", method="DELETE")
            ended.add_header("Session-Token", session["token"])
            urllib.request.urlopen(ended, timeout=60).close()
            print(f"sessions: {kind} answered {json.dumps(result['result'])[:80]}")
        image.stop()


def _asked(base: str, kind: str) -> dict[str, Any]:
    """A session that is ready."""
    body, headers = json.dumps({"kind": kind, "client": "smoke"}).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{base}/sessions", body, headers), timeout=60) as answer:
        session = json.load(answer)
    while session["state"] != "ready":
        request = urllib.request.Request(f"{base}/sessions/{session['id']}?wait_s=20")
        request.add_header("Session-Token", session["token"])
        with urllib.request.urlopen(request, timeout=60) as answer:
            session |= json.load(answer)
    return dict(session)


def _check_fleet(tag: str, folder: Path) -> None:
    gateway, metrics = free_port(), free_port()
    environment = {"BONGSU_FLEET": "/var/lib/bongsu/fleet", "BONGSU_NODE": "smoke"}
    with _Image(f"bongsu/fleet:{tag}", folder, "/var/lib/bongsu/fleet", environment) as image:
        image.once("bongsu", "models", "keygen")
        image.once("bongsu", "models", "push", "--shipped", "--sign")
        ((name, version, *_),) = [line.split() for line in image.once("bongsu", "models", "list").splitlines()[1:]]
        model = f"{name}:{version}"
        image.once("bongsu", "nodes", "add", "smoke", "--here")
        said = image.once("bongsu", "models", "deploy", model, "--nodes", "all")
        assert f"{model} in use" in said, said
        image.start("python", "-m", "edge.service", BONGSU_METRICS_PORT=str(metrics))
        image.start("python", "-m", "edge.gateway", BONGSU_GATEWAY_LISTEN=f"127.0.0.1:{gateway}")
        wait_for(lambda: "bongsu_node_up" in get(f"http://127.0.0.1:{metrics}/metrics"), 120)
        url = f"http://127.0.0.1:{gateway}/v2/{name}/manifests/{version}"
        # Nodes get theirs over SSH, which no image serves.
        token = image.once("python", "-c", _ISSUE).strip()
        wait_for(lambda: _status(url, None) == 401, 60)
        assert _status(url, token) == 200
        image.stop()
    print(f"fleet: {model} was pushed, signed and deployed; the gateway gives it to the node's token alone")


def _status(url: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        try:
            return int(urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20).status)
        except urllib.error.HTTPError as error:
            return error.code
    return 0
