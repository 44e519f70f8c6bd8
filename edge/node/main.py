"""Handles a request on a node; edge/ssh.py sends this package with each request, and nothing keeps running.

It needs only Python 3.9 and the standard library. It reads one line of JSON from stdin and writes lines of JSON to
stdout: any number of `progress`, `need` and `seen`, then one `result` or `error`. After a `need` the blob's bytes
follow on stdin, after a `run` the pictures. It writes only below `~/.bongsu`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

from edge.node.facts import read_facts
from edge.node.gateway import install_token
from edge.node.health import read_health
from edge.node.inference import run_model
from edge.node.messages import HOME, Refused, describe_os_error, fail, lock, send, write
from edge.node.usage import read_usage
from edge.node.versions import deploy, list_models, roll_back


def main() -> None:
    """Handle one request."""
    try:
        request = json.loads(sys.stdin.buffer.readline())
        os.umask(0o077)
        result = _COMMANDS[request["command"]](request)
    except Refused as error:
        fail(str(error))
    except OSError as error:
        fail(describe_os_error(error))
    send({"kind": "result", **result})


def install_ca(request: dict[str, Any]) -> dict[str, Any]:
    """Store the certificate of the registry's authority."""
    path = HOME / "registry/ca.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, request["ca"].encode())
    return {"path": str(path)}


def remove_all(request: dict[str, Any]) -> dict[str, Any]:
    """Remove all our files: certificate, models, and partial downloads."""
    if HOME.exists():
        with lock():
            shutil.rmtree(HOME)
    return {"removed": str(HOME)}


_COMMANDS = {
    "facts": read_facts,
    "install-ca": install_ca,
    "install-token": install_token,
    "remove": remove_all,
    "models": list_models,
    "deploy": deploy,
    "rollback": roll_back,
    "run": run_model,
    "health": read_health,
    "usage": read_usage,
}
