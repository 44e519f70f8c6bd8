"""What a node does when it is asked to; edge/ssh.py sends this package with each request, and nothing is left running.

It needs Python 3.9 and the standard library alone. One line of JSON comes in on stdin; lines of JSON go out on stdout,
any number of `progress`, `need` and `seen`, then one `result` or `error`. After a `need` the blob's bytes follow on
stdin, after a `run` the pictures. All that it writes is below `~/.bongsu`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

from edge.node.facts import read_facts
from edge.node.health import read_health
from edge.node.inference import run_model
from edge.node.messages import HOME, Refused, fail, lock, say, say_os_error, write
from edge.node.usage import read_usage
from edge.node.versions import deploy, list_models, roll_back


def main() -> None:
    """Answer one request."""
    try:
        request = json.loads(sys.stdin.buffer.readline())
        os.umask(0o077)
        result = _COMMANDS[request["command"]](request)
    except Refused as error:
        fail(str(error))
    except OSError as error:
        fail(say_os_error(error))
    say({"kind": "result", **result})


def install_ca(request: dict[str, Any]) -> dict[str, Any]:
    """Keep the certificate of the registry's authority."""
    path = HOME / "registry/ca.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, request["ca"].encode())
    return {"path": str(path)}


def remove_all(request: dict[str, Any]) -> dict[str, Any]:
    """Take everything of ours away: certificate, models, and parts of them."""
    if HOME.exists():
        with lock():
            shutil.rmtree(HOME)
    return {"removed": str(HOME)}


_COMMANDS = {
    "facts": read_facts,
    "install-ca": install_ca,
    "remove": remove_all,
    "models": list_models,
    "deploy": deploy,
    "rollback": roll_back,
    "run": run_model,
    "health": read_health,
    "usage": read_usage,
}
