"""Prepares a node with Ansible and our collection `edge/ansible/`; `bongsu nodes bootstrap` and `remove` call it.

Ansible runs as a process of its own: half a second of imports and its licence stay outside of this one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge import audit
from edge.errors import FleetError, NodeLostError, NodeRefusedError
from edge.nodes import Node, NodeFile, SshAddress
from edge.request import clean
from edge.settings import FleetSettings

COLLECTION = Path(__file__).parent / "ansible"
_SSH_ARGUMENTS = "-C -o ControlMaster=auto -o ControlPersist=5s"


class Step(msgspec.Struct, frozen=True):
    """What became of one step, as the callback in the collection writes it.

    Attributes:
        state: `changed` in a run with `--check`: it would be.
        step: the task, for people.
        reason: of a failure.
    """

    state: Literal["ok", "changed", "failed", "unreachable", "note"]
    step: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a node is to become.

    Attributes:
        runtime: one of `nodes.RUNTIMES`.
        has_firewall: whether only SSH, and what the runtime needs, is let in.
        keeps_time: whether chrony is installed where nothing synchronises the clock.
        metrics_from: networks that may reach node-exporter.
        k3s: `server`, `token`, `program` and `sha256` of an agent.
    """

    runtime: str = "none"
    has_firewall: bool = True
    keeps_time: bool = True
    metrics_from: tuple[str, ...] = ()
    k3s: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """How Ansible runs.

    Attributes:
        on_step: receives each step as it is done.
        is_check: whether to change nothing, and find out what would be.
        become_password: file with the password of sudo, if the user needs one.
    """

    on_step: Callable[[Step], None]
    is_check: bool = False
    become_password: Path | None = None


async def bootstrap(settings: FleetSettings, node: Node, wanted: Wanted, run: Run) -> int:
    """Prepare a node, or find out what that would change.

    Args:
        settings: of the fleet.
        node: which one.
        wanted: what it is to become.
        run: how.

    Returns:
        How many steps changed something, or would.

    Raises:
        NodeLostError: the node cannot be reached.
        NodeRefusedError: a step failed.
        FleetError: Ansible is not installed, or the node is not reached over SSH.
    """
    variables = _variables(settings, node, wanted)
    changed = await _play("bootstrap", node, variables, run)
    if not run.is_check:
        NodeFile(settings.folder).update(node.name, runtime=wanted.runtime)
        audit.record(settings.folder, "node_bootstrapped", node.name, runtime=wanted.runtime, changed=changed)
    return changed


async def undo(settings: FleetSettings, node: Node, run: Run) -> int:
    """Take the certificate, the firewall and the services off a node again; arguments and errors as `bootstrap`."""
    variables = _variables(settings, node, Wanted(node.runtime or "none"))
    changed = await _play("remove", node, variables, run)
    if not run.is_check:
        NodeFile(settings.folder).update(node.name, runtime=None)
        audit.record(settings.folder, "node_bootstrap_undone", node.name, changed=changed)
    return changed


def _variables(settings: FleetSettings, node: Node, wanted: Wanted) -> dict[str, Any]:
    if node.ssh is None or node.host_key is None:
        raise FleetError(f"node {node.name!r} is not reached over SSH, and is not prepared from here")
    address = SshAddress.parse(node.ssh)
    home = "/root" if address.user == "root" else f"/home/{address.user}"
    return {
        "bongsu_runtime": wanted.runtime,
        "bongsu_registry": settings.registry.split("/")[2] if settings.is_remote else "",
        "bongsu_registry_ca": settings.registry_ca.read_text() if settings.registry_ca is not None else "",
        "bongsu_firewall": wanted.has_firewall,
        "bongsu_time": wanted.keeps_time,
        "bongsu_metrics_from": list(wanted.metrics_from),
        "bongsu_reporter": f"{home}/.bongsu/gateway/report.pyz" if settings.gateway is not None else "",
        "bongsu_reporter_user": address.user,
        **{f"bongsu_k3s_{name}": value for name, value in (wanted.k3s or {}).items()},
    }


async def _play(playbook: str, node: Node, variables: dict[str, Any], run: Run) -> int:
    if find_spec("ansible") is None:
        raise FleetError("Ansible is not installed here: pip install 'bongsu[bootstrap]'")
    with tempfile.TemporaryDirectory(prefix="bongsu-") as made:
        at = Path(made)
        inventory, values = _write_inventory(at, node), _write_variables(at, variables)
        command = [sys.executable, "-m", "ansible", "playbook", f"bongsu.edge.{playbook}"]
        command += ["--inventory", str(inventory), "--extra-vars", f"@{values}"]
        command += ["--check"] if run.is_check else []
        command += ["--become-password-file", str(run.become_password)] if run.become_password is not None else []
        process = await asyncio.create_subprocess_exec(
            *command, cwd=at, env={**os.environ, **_environment(at)}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 20,
        )  # fmt: skip
        try:
            return await _follow(node, process, run.on_step)
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def _follow(node: Node, process: asyncio.subprocess.Process, on_step: Callable[[Step], None]) -> int:
    """Pass on each step until the end; returns how many changed something."""
    assert process.stdout is not None and process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    changed, failed = 0, None
    async for line in process.stdout:
        try:
            step = msgspec.json.decode(line, type=Step)
        except msgspec.MsgspecError:
            continue  # a warning of Ansible's
        step = msgspec.structs.replace(step, step=clean(step.step), reason=clean(step.reason))
        changed += step.state == "changed"
        if step.state in ("failed", "unreachable"):
            failed = step
        else:
            on_step(step)
    said, status = (await errors).decode(errors="replace").strip().splitlines(), await process.wait()
    if failed is not None and failed.state == "unreachable":
        raise NodeLostError(f"node {node.name!r}: {node.ssh} cannot be reached: {failed.reason}")
    if failed is not None:
        raise NodeRefusedError(f"node {node.name!r}: {failed.step}: {failed.reason}")
    if status:
        raise FleetError(f"node {node.name!r}: Ansible failed: {clean(said[-1]) if said else f'status {status}'}")
    return changed


def _write_inventory(at: Path, node: Node) -> Path:
    address = SshAddress.parse(node.ssh or "")
    known = at / "known_hosts"
    shown = address.host if address.port == 22 else f"[{address.host}]:{address.port}"
    known.write_text(f"{shown} {node.host_key}\n")
    pinned = f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
    host: dict[str, Any] = {
        "ansible_host": address.host,
        "ansible_port": address.port,
        "ansible_user": address.user,
        "ansible_become": address.user != "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": f"-F /dev/null {pinned}",
    }
    if node.key is not None:
        host |= {"ansible_ssh_private_key_file": node.key, "ansible_ssh_extra_args": "-o IdentitiesOnly=yes"}
    path = at / "hosts.json"
    path.write_bytes(msgspec.json.encode({"all": {"hosts": {node.name: host}}}))
    return path


def _write_variables(at: Path, variables: dict[str, Any]) -> Path:
    path = at / "variables.json"
    path.write_bytes(msgspec.json.encode(variables))
    return path


def _environment(at: Path) -> dict[str, str]:
    """Of Ansible, with nothing of the operator's own configuration, which could change what a step does."""
    collections = at / "collections/ansible_collections/bongsu"
    collections.mkdir(parents=True)
    (collections / "edge").symlink_to(COLLECTION)
    (at / "ansible.cfg").touch()
    return {
        "ANSIBLE_CONFIG": str(at / "ansible.cfg"),
        "ANSIBLE_HOME": str(at / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(at / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "bongsu.edge.steps",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_ARGS": _SSH_ARGUMENTS,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(at / "c"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "PYTHONUNBUFFERED": "1",
    }
