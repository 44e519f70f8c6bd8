"""SSH to a node: its host key is pinned, and each request sends the package edge/node and reads its answers."""

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
"""Until a node says anything more: it hashes and waits for its disk without a word."""
_END_S = 10
_CHUNK_BYTES = 1 << 18

OnProgress = Callable[[int, int], None]
"""Is told of bytes that are done, and of all."""
Blobs = Callable[[str, int], AsyncIterator[bytes]]
"""Reads a blob by its digest, from a byte on."""
OnSeen = Callable[[bytes], None]
"""Is told of a line of JSON; what it raises ends the request."""


class _Message(msgspec.Struct):
    kind: str
    done: int = 0
    total: int = 0
    digest: str = ""
    offset: int = 0
    reason: str = ""


async def read_host_key(address: SshAddress) -> asyncssh.SSHKey:
    """Ask a host for its key, before anything is trusted.

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
    """A connection to a node whose host key is the pinned one.

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
            f"set up anew, bongsu nodes remove {node.name} --force and add it again; if not, somebody is in between"
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
    """Have a node do one thing.

    Args:
        node: Which one.
        request: `command` and what that takes (edge/node/main.py).
        answer: What the result must be; a node may be anybody's by now.
        on_progress: Is told how far it is.
        blobs: Where what the node needs is read from.
        on_seen: Is told of each line of what a model saw.
        feed: What is sent after the request, while answers come.

    Returns:
        The result.

    Raises:
        NodeLostError: it cannot be reached, or went away in the middle.
        NodeRefusedError: it refused, and says why.
        FleetError: it lacks Python, or answered with nonsense.
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
            f"node {node.name!r} was lost: {_say(error)}; the same command goes on from there"
        ) from None
    try:
        return msgspec.json.decode(line, type=answer)
    except msgspec.MsgspecError as error:
        raise FleetError(f"node {node.name!r} answered with nonsense: {error}") from None


async def run(node: Node, command: Sequence[str]) -> str:
    """Run a command of the system on a node.

    Args:
        node: Which one.
        command: The program and its arguments, quoted here.

    Returns:
        What it printed, errors included.

    Raises:
        NodeLostError: the node cannot be reached, or went away in the middle.
        NodeRefusedError: the command failed; the message has its last line.
    """
    try:
        async with connected(node) as connection:
            done = await connection.run(shlex.join(command), stderr=asyncssh.STDOUT, errors="replace")
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise NodeLostError(f"node {node.name!r} was lost: {_say(error)}") from None
    said = str(done.stdout or "")
    if done.exit_status != 0:
        last = clean(said.strip().splitlines()[-1]) if said.strip() else f"status {done.exit_status}"
        raise NodeRefusedError(f"node {node.name!r}: {command[0]} failed: {last}")
    return said


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
            raise FleetError(f"node {node.name!r} answered with what is no message ({error}): {line[:80]!r}") from None
        except RecursionError:
            raise FleetError(f"node {node.name!r} answered with what is nested too deeply to be a message") from None
        if message.kind == "result":
            return line
        if message.kind == "error":
            raise NodeRefusedError(f"node {node.name!r}: {clean(message.reason)}")
        if message.kind == "seen" and on_seen is not None:
            on_seen(line)
        if message.kind == "progress" and on_progress is not None:
            on_progress(message.done, message.total)
        if message.kind == "need" and blobs is not None:
            # A node that gave up has closed its end: its next line says why.
            with contextlib.suppress(BrokenPipeError):
                await _send(process, blobs(message.digest, message.offset))


@contextlib.asynccontextmanager
async def _fed(process: asyncssh.SSHClientProcess[bytes], feed: AsyncIterator[bytes] | None) -> AsyncIterator[None]:
    """Send what follows a request while its answers are read."""

    async def send(content: AsyncIterator[bytes]) -> None:
        # A node that gave up has closed its end: its next line says why.
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
            # asyncssh stops reading at its window, 2 MB: an endless line ends there.
            return await process.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return bytes(error.partial)


async def _send(process: asyncssh.SSHClientProcess[bytes], content: AsyncIterator[bytes]) -> None:
    async for chunk in content:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            process.stdin.write(chunk[start : start + _CHUNK_BYTES])
            await process.stdin.drain()


async def _explain_end(node: Node, process: asyncssh.SSHClientProcess[bytes]) -> FleetError:
    """Why a node stopped talking before it had a result."""
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            said = await process.stderr.read(20_000)
            await process.wait_closed()
    if process.exit_status == 127:
        return FleetError(f"node {node.name!r} has no python3: apt-get install python3 there")
    if process.exit_status is None or process.exit_signal is not None:
        return NodeLostError(f"node {node.name!r} was lost: the connection ended; the same command goes on from there")
    lines = said.decode(errors="replace").split("\n")
    last = clean(next((line for line in reversed(lines) if line.strip()), f"status {process.exit_status}"))
    return FleetError(f"node {node.name!r} failed: {last}")


def clean(text: str) -> str:
    """What a node said, fit for a terminal: one line, no control characters, 500 at most."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()


@cache
def sources() -> bytes:
    """What BOOTSTRAP reads first: the modules of edge/node in one line of JSON."""
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
        raise FleetError(f"{path} is no private key of SSH: {error}") from None


def _say(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
