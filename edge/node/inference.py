"""Runs a version that this node has on pictures, with `models.run` in the node's own Python environment.

Everything else on a node needs only the standard library; a network needs onnxruntime, OpenCV and numpy. They are in
`~/.bongsu/venv`, which the operator creates, because a Jetson, a GPU and a plain CPU need different builds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

from edge.node.messages import CHUNK_BYTES, DIGEST, HOME, NAME, Refused, checked

PYTHON = HOME / "venv/bin/python"
_FIX = "python3 -m venv ~/.bongsu/venv && ~/.bongsu/venv/bin/pip install 'bongsu[detect,motion]'"
_PICTURES = {".jpg", ".jpeg"}
_PATH = re.compile(r"[^\0]{1,4096}")


def run_model(request: dict[str, Any]) -> dict[str, Any]:
    """Process pictures from stdin, or from a folder or camera of this node; sends a `seen` for each."""
    folder = HOME / "models" / checked(request["name"], NAME) / checked(request["digest"], DIGEST)[7:]
    if not folder.is_dir():
        raise Refused(f"{request['label']} is not on this node: bongsu models deploy {request['label']} --nodes …")
    if not PYTHON.exists():
        raise Refused(f"there is no {PYTHON} here, which runs models: {_FIX}")
    order = {key: request[key] for key in ("labels", "thresholds", "threads")}
    with tempfile.TemporaryFile() as stderr:
        looking = _start("models.run", stderr, {**order, "weights": str(folder)}, subprocess.PIPE, subprocess.PIPE)
        feed = _Feed(request, looking.stdin, stderr)
        feed.start()
        try:
            count = _pass_on(looking)
        finally:
            looking.kill()
            status = looking.wait()
        feed.join(1)
        if status != 0 or feed.status != 0:
            raise Refused(_last_line(stderr))
        return {"pictures": count}


def _pass_on(looking: subprocess.Popen[bytes]) -> int:
    """Forward every line as it comes; returns their number."""
    count = 0
    assert looking.stdout is not None
    for line in looking.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        count += 1
    with contextlib.suppress(subprocess.TimeoutExpired):
        looking.wait(10)
    return count


class _Feed(threading.Thread):
    """Feeds pictures from the source of the request to the network's process."""

    def __init__(self, request: dict[str, Any], into: Any, stderr: Any) -> None:
        super().__init__(daemon=True)
        self._request, self._into, self._stderr = request, into, stderr
        self.status = 0

    def run(self) -> None:
        """Feed until there are no more pictures, or the process ended."""
        with contextlib.suppress(BrokenPipeError), self._into:
            request = self._request
            path = Path(checked(request["path"], _PATH)) if request.get("path") else None
            if path is not None and (path.is_dir() or path.suffix.lower() in _PICTURES):
                _send_files(path, self._into)
            elif camera := request.get("camera") or request.get("path"):
                settings = {key: request[key] for key in ("every_s", "count")}
                order = {**settings, "camera": camera, "name": request["source"]}
                self.status = _start("motion.snapshots", self._stderr, order, subprocess.PIPE, self._into).wait()
            else:
                self._pass_on_stdin()

    def _pass_on_stdin(self) -> None:
        chunk: bytes = sys.stdin.buffer.read1(CHUNK_BYTES)  # type: ignore[union-attr]  # with what was read ahead of the request's end
        while chunk:
            self._into.write(chunk)
            self._into.flush()
            chunk = os.read(0, CHUNK_BYTES)  # a thread that waits in sys.stdin would block the exit


def _send_files(path: Path, into: BinaryIO) -> None:
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix.lower() in _PICTURES)
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            lost = {"source": file.name, "lost": str(error.strerror)}
            into.write(json.dumps(lost).encode() + b"\n")
        else:
            header = {"source": file.name, "bytes": len(content)}
            into.write(json.dumps(header).encode() + b"\n" + content)
    into.flush()


def _start(module: str, stderr: Any, order: dict[str, Any], stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    """Start one of our modules in the node's environment, and send it its order."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [str(PYTHON), "-m", module], stdin=stdin, stdout=stdout, stderr=stderr, env=environ, cwd=str(HOME)
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def _last_line(stderr: Any) -> str:
    """The last line of stderr, with the fix if a package is missing."""
    stderr.seek(0)
    lines = [line for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip()[:400] if lines else "the network's process ended without a message"
    if "No module named" in last:
        return f"{last.partition(': ')[2] or last} in ~/.bongsu/venv: {_FIX}"
    return last.removeprefix("bongsu: ")
