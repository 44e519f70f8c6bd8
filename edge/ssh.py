"""SSH to a node, with a pinned host key. Each request sends the package edge/node and reads its answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import msgspec

from edge.errors import FleetError, NodeLostError, NodeRefusedError
from edge.nodes import Node, SshAddress

_T = TypeVar("_T")
_MODULES = ("messages", "facts", "health", "checks", "transfer", "versions", "inference", "main")
"""In the order in which they import each other."""
BOOTSTRAP = (
    "import sys,types,json;"
    "sources=json.loads(sys.stdin.buffer.readline());"
    "[sys.modules.setdefault(n,types.ModuleType(n)) for n in ('edge','edge.node')];"
    "[exec(compile(s,n,'exec'),sys.modules.setdefault(n,types.ModuleType(n)).__dict__) for n,s in sources];"
    "sys.modules['edge.node.main'].main()"
)
_CONNECT_S = 15
_KEEPALIVE_S = 5
_ANSWER_S = 300
"""The longest silence of a node, which sends nothing while it hashes or waits for its disk."""
_END_S = 10
_CHUNK_BYTES = 1 << 18

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are done, and the total."""
Blobs = Callable[[str, int], AsyncIterator[bytes]]
"""Reads a blob by its digest, from an offset on."""
OnSeen = Callable[[bytes], None]
"""Called with a line of JSON; an exception ends the request."""


class _Message(msgspec.Struct):
    kind: str
    done: int = 0
    total: int = 0
    digest: str = ""
    offset: int = 0
    reason: str = ""


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
        async with connected(node) as connection:
            process = await connection.create_process(f'python3 -u -c "{BOOTSTRAP}"', encoding=None)
            async with process:
                process.stdin.write(sources() + b"\n" + msgspec.json.encode(request) + b"\n")
                async with _fed(process, feed):
                    line = await _talk(node, process, on_progress, blobs, on_seen)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise NodeLostError(
            f"node {node.name!r} was lost: {_say(error)}; the same command continues from there"
        ) from None
    try:
        return msgspec.json.decode(line, type=answer)
    except msgspec.MsgspecError as error:
        raise FleetError(f"node {node.name!r} sent an invalid answer: {error}") from None


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


async def _talk(
    node: Node,
    process: asyncssh.SSHClientProcess[bytes],
    on_progress: OnProgress | None,
    blobs: Blobs | None,
    on_seen: OnSeen | None,
) -> bytes:
    while True:
        line = await _read_line(process)
        if not line.endswith(b"\n"):
            if line and not process.stdout.at_eof():
                raise FleetError(f"node {node.name!r} answered with {len(line)} bytes and no end of a line")
            raise await _explain_end(node, process)
        try:
            message = msgspec.json.decode(line, type=_Message)
        except msgspec.MsgspecError as error:
            raise FleetError(f"node {node.name!r} sent an invalid message ({error}): {line[:80]!r}") from None
        except RecursionError:
            raise FleetError(f"node {node.name!r} sent a message that is nested too deeply") from None
        if message.kind == "result":
            return line
        if message.kind == "error":
            raise NodeRefusedError(f"node {node.name!r}: {clean(message.reason)}")
        if message.kind == "seen" and on_seen is not None:
            on_seen(line)
        if message.kind == "progress" and on_progress is not None:
            on_progress(message.done, message.total)
        if message.kind == "need" and blobs is not None:
            # A node that failed has closed its end; its next line has the reason.
            with contextlib.suppress(BrokenPipeError):
                await _send(process, blobs(message.digest, message.offset))


@contextlib.asynccontextmanager
async def _fed(process: asyncssh.SSHClientProcess[bytes], feed: AsyncIterator[bytes] | None) -> AsyncIterator[None]:
    """Send a request's data while its answers are read."""

    async def send(content: AsyncIterator[bytes]) -> None:
        # A node that failed has closed its end; its next line has the reason.
        with contextlib.suppress(OSError, asyncssh.Error):
            await _send(process, content)
            process.stdin.write_eof()

    if feed is None:
        yield
        return
    sending = asyncio.create_task(send(feed))
    try:
        yield
    finally:
        sending.cancel()


async def _read_line(process: asyncssh.SSHClientProcess[bytes]) -> bytes:
    async with asyncio.timeout(_ANSWER_S):
        try:
            # asyncssh stops reading at its window of 2 MB, which limits an endless line.
            return await process.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return bytes(error.partial)


async def _send(process: asyncssh.SSHClientProcess[bytes], content: AsyncIterator[bytes]) -> None:
    async for chunk in content:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            process.stdin.write(chunk[start : start + _CHUNK_BYTES])
            await process.stdin.drain()


async def _explain_end(node: Node, process: asyncssh.SSHClientProcess[bytes]) -> FleetError:
    """The error for a connection that ended before a result."""
    output = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            output = await process.stderr.read(20_000)
            await process.wait_closed()
    if process.exit_status == 127:
        return FleetError(f"node {node.name!r} has no python3: apt-get install python3 there")
    if process.exit_status is None or process.exit_signal is not None:
        return NodeLostError(
            f"node {node.name!r} was lost: the connection ended; the same command continues from there"
        )
    lines = output.decode(errors="replace").split("\n")
    last = clean(next((line for line in reversed(lines) if line.strip()), f"status {process.exit_status}"))
    return FleetError(f"node {node.name!r} failed: {last}")


def clean(text: str) -> str:
    """A node's text, safe for a terminal: one line, without control characters, at most 500 characters."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()


@cache
def sources() -> bytes:
    """The first input of BOOTSTRAP: the modules of edge/node in one line of JSON."""
    package = files("edge.node")
    return msgspec.json.encode([(f"edge.node.{name}", (package / f"{name}.py").read_text()) for name in _MODULES])


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
