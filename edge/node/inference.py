"""Runs a version that this node keeps on pictures: `models.run` does it, in the node's own environment of Python.

What runs on a node otherwise is the standard library alone; a network needs onnxruntime, OpenCV and numpy. Those are
in `~/.bongsu/venv`, which the operator makes, for a Jetson, a GPU and a plain CPU need different builds of them.
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

PYTHON = Path(os.environ.get("BONGSU_NODE_PYTHON") or HOME / "venv/bin/python")
_FIX = "python3 -m venv ~/.bongsu/venv && ~/.bongsu/venv/bin/pip install 'bongsu[detect,motion]'"
_PICTURES = {".jpg", ".jpeg"}
_PATH = re.compile(r"[^\0]{1,4096}")


def run_model(request: dict[str, Any]) -> dict[str, Any]:
    """Look at pictures that come on stdin, or at those of a folder or a camera of this node; a `seen` for each."""
    folder = HOME / "models" / checked(request["name"], NAME) / checked(request["digest"], DIGEST)[7:]
    if not folder.is_dir():
        raise Refused(f"{request['label']} is not on this node: bongsu models deploy {request['label']} --nodes …")
    if not PYTHON.exists():
        raise Refused(f"there is no {PYTHON} here, and models run in it: {_FIX}")
    order = {key: request[key] for key in ("labels", "thresholds", "threads")}
    with tempfile.TemporaryFile() as said:
        looking = _start("models.run", said, {**order, "weights": str(folder)}, subprocess.PIPE, subprocess.PIPE)
        feed = _Feed(request, looking.stdin, said)
        feed.start()
        try:
            count = _pass_on(looking)
        finally:
            looking.kill()
            status = looking.wait()
        feed.join(1)
        if status != 0 or feed.status != 0:
            raise Refused(_last_line(said))
        return {"pictures": count}


def _pass_on(looking: subprocess.Popen[bytes]) -> int:
    """Send every line as it comes; the number of them."""
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
    """Gives pictures to what looks at them, from wherever the request says."""

    def __init__(self, request: dict[str, Any], into: Any, said: Any) -> None:
        super().__init__(daemon=True)
        self._request, self._into, self._said = request, into, said
        self.status = 0

    def run(self) -> None:
        """Feed until there are no more pictures, or nobody looks."""
        with contextlib.suppress(BrokenPipeError), self._into:
            request = self._request
            path = Path(checked(request["path"], _PATH)) if request.get("path") else None
            if path is not None and (path.is_dir() or path.suffix.lower() in _PICTURES):
                _send_files(path, self._into)
            elif camera := request.get("camera") or request.get("path"):
                settings = {key: request[key] for key in ("every_s", "count")}
                order = {**settings, "camera": camera, "name": request["source"]}
                self.status = _start("motion.snapshots", self._said, order, subprocess.PIPE, self._into).wait()
            else:
                self._pass_on_stdin()

    def _pass_on_stdin(self) -> None:
        chunk: bytes = sys.stdin.buffer.read1(CHUNK_BYTES)  # type: ignore[union-attr]  # with what was read ahead of the request's end
        while chunk:
            self._into.write(chunk)
            self._into.flush()
            chunk = os.read(0, CHUNK_BYTES)  # a thread that waits in sys.stdin could not be left at the end


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


def _start(module: str, said: Any, order: dict[str, Any], stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    """Start one of our modules in the node's environment, and give it its order."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [str(PYTHON), "-m", module], stdin=stdin, stdout=stdout, stderr=said, env=environ, cwd=str(HOME)
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def _last_line(said: Any) -> str:
    """The last line of what was said on stderr, with the fix where a package is missing."""
    said.seek(0)
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip()[:400] if lines else "the network's process ended without a word"
    if "No module named" in last:
        return f"{last.partition(': ')[2] or last} in ~/.bongsu/venv: {_FIX}"
    return last.removeprefix("bongsu: ")
