"""Reaches a node: over SSH, its host key pinned, or this machine as a process; `request.py` says what is spoken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import msgspec

from edge import here
from edge.errors import FleetError, NodeLostError, NodeRefusedError
from edge.nodes import Node, SshAddress
from edge.request import BOOTSTRAP, Blobs, OnProgress, OnSeen, Process, clean, converse

_T = TypeVar("_T")
_CONNECT_S = 15
_KEEPALIVE_S = 5


async def read_host_key(address: SshAddress) -> asyncssh.SSHKey:
    """Read a host's key, before it is trusted.

    Raises:
        NodeLostError: it cannot be reached.
    """
    try:
        async with asyncio.timeout(_CONNECT_S):
            key = await asyncssh.get_server_host_key(
                address.host, address.port, server_host_key_algs=["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"]
            )
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise NodeLostError(f"{address} cannot be reached: {_say(error)}") from None
    if key is None:
        raise NodeLostError(f"{address} showed no host key")
    return key


@contextlib.asynccontextmanager
async def connected(node: Node) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect to a node, and check its pinned host key.

    Raises:
        NodeLostError: it cannot be reached, or the connection broke.
        FleetError: the host key changed, or the node does not accept our key.
    """
    if node.revoked_at is not None:
        raise FleetError(f"node {node.name!r} was revoked on {node.revoked_at:%Y-%m-%d}: nothing connects to it")
    if node.ssh is None or node.host_key is None:
        raise FleetError(f"node {node.name!r} is not reached over SSH: it was adopted from a cluster")
    address = SshAddress.parse(node.ssh)
    pinned = asyncssh.import_public_key(node.host_key)
    try:
        connection = await asyncssh.connect(
            address.host,
            address.port,
            username=address.user,
            client_keys=[_client_key(Path(node.key))] if node.key else (),
            known_hosts=([pinned], [], []),
            server_host_key_algs=[a.decode() for a in pinned.sig_algorithms],
            connect_timeout=_CONNECT_S,
            keepalive_interval=_KEEPALIVE_S,
            keepalive_count_max=3,
            config=None,
        )
    except asyncssh.HostKeyNotVerifiable:
        raise FleetError(
            f"node {node.name!r}: the host key of {address} is not the one that was verified. If the machine was "
            f"reinstalled, bongsu nodes remove {node.name} --force and add it again; if not, it may be an attack"
        ) from None
    except asyncssh.PermissionDenied:
        raise FleetError(
            f"node {node.name!r}: {address} does not accept the key {node.key}: authorize it there"
        ) from None
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise NodeLostError(f"node {node.name!r}: {address} cannot be reached: {_say(error)}") from None
    async with connection:
        yield connection


async def ask(
    node: Node,
    request: dict[str, Any],
    answer: type[_T],
    *,
    on_progress: OnProgress | None = None,
    blobs: Blobs | None = None,
    on_seen: OnSeen | None = None,
    feed: AsyncIterator[bytes] | None = None,
) -> _T:
    """Send a request to a node, and wait for its result.

    Args:
        node: the node.
        request: `command` and its arguments (edge/node/main.py).
        answer: the type of the result, which is validated, because the node may be compromised.
        on_progress: called with the progress.
        blobs: reads the blobs that the node needs.
        on_seen: called with each line of a model's results.
        feed: data to send after the request, while answers come.

    Returns:
        The result.

    Raises:
        NodeLostError: it cannot be reached, or the connection broke.
        NodeRefusedError: it refused; the message has the reason.
        FleetError: it lacks Python, or sent an invalid answer.
    """
    try:
        async with _python_on(node) as process:
            line = await converse(
                node, process, request, on_progress=on_progress, blobs=blobs, on_seen=on_seen, feed=feed
            )
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise NodeLostError(
            f"node {node.name!r} was lost: {_say(error)}; the same command continues from there"
        ) from None
    try:
        return msgspec.json.decode(line, type=answer)
    except msgspec.MsgspecError as error:
        raise FleetError(f"node {node.name!r} sent an invalid answer: {error}") from None


@contextlib.asynccontextmanager
async def _python_on(node: Node) -> AsyncIterator[Process]:
    if node.here is not None:
        async with here.python(Path(node.here)) as process:
            yield process
        return
    async with connected(node) as connection:
        remote = await connection.create_process(f'python3 -u -c "{BOOTSTRAP}"', encoding=None)
        async with remote:
            yield remote


async def run(node: Node, command: Sequence[str]) -> str:
    """Run a system command on a node.

    Args:
        node: the node.
        command: the program and its arguments; they are quoted here.

    Returns:
        Its output, including stderr.

    Raises:
        NodeLostError: the node cannot be reached, or the connection broke.
        NodeRefusedError: the command failed; the message has its last line.
    """
    if node.here is not None:
        return await here.run(command)
    try:
        async with connected(node) as connection:
            done = await connection.run(shlex.join(command), stderr=asyncssh.STDOUT, errors="replace")
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise NodeLostError(f"node {node.name!r} was lost: {_say(error)}") from None
    output = str(done.stdout or "")
    if done.exit_status != 0:
        last = clean(output.strip().splitlines()[-1]) if output.strip() else f"status {done.exit_status}"
        raise NodeRefusedError(f"node {node.name!r}: {command[0]} failed: {last}")
    return output


def _client_key(path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path, os.environ.get("BONGSU_SSH_PASSPHRASE") or None)
    except OSError as error:
        raise FleetError(f"the SSH key {path} cannot be read: {error.strerror}") from None
    except asyncssh.KeyEncryptionError as error:
        raise FleetError(f"the SSH key {path} needs its passphrase in BONGSU_SSH_PASSPHRASE: {error}") from None
    except asyncssh.KeyImportError as error:
        raise FleetError(f"{path} is not an SSH private key: {error}") from None


def _say(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
