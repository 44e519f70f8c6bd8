"""One request to a node as it is spoken: the package edge/node is sent, then lines of JSON go both ways.

`ssh.py` speaks it with a machine that SSH reaches, `here.py` with this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from edge.errors import FleetError, NodeLostError, NodeRefusedError
from edge.nodes import Node

_MODULES = ("messages", "facts", "health", "gateway", "checks", "transfer", "versions", "usage", "inference", "main")
"""In the order in which they import each other."""
BOOTSTRAP = (
    "import sys,types,json;"
    "sources=json.loads(sys.stdin.buffer.readline());"
    "[sys.modules.setdefault(n,types.ModuleType(n)) for n in ('edge','edge.node')];"
    "[exec(compile(s,n,'exec'),sys.modules.setdefault(n,types.ModuleType(n)).__dict__) for n,s in sources];"
    "sys.modules['edge.node.main'].main()"
)
_REPORTER = """
import os, sys
os.environ["BONGSU_NODE_HOME"] = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
from edge.node.gateway import report
sys.exit(report())
"""
_ANSWER_S = 300
"""Until a node says anything more: it hashes and waits for its disk without a word."""
_END_S = 10
_CHUNK_BYTES = 1 << 18

OnProgress = Callable[[int, int], None]
"""Receives the number of bytes that are done, and of all."""
Blobs = Callable[[str, int], AsyncIterator[bytes]]
"""Reads a blob by its digest, from a byte on."""
OnSeen = Callable[[bytes], None]
"""Receives a line of JSON; what it raises ends the request."""


class Process(Protocol):
    """Python on a node, which reads what is sent and answers."""

    @property
    def stdin(self) -> Any:
        """As asyncio.StreamWriter."""
        ...

    @property
    def stdout(self) -> Any:
        """As asyncio.StreamReader."""
        ...

    @property
    def stderr(self) -> Any:
        """As asyncio.StreamReader."""
        ...

    @property
    def exit_status(self) -> int | None:
        """Negative: a signal ended it; None while it runs, and where its connection ended."""
        ...

    async def wait_closed(self) -> None:
        """Wait for its end."""
        ...


class _Message(msgspec.Struct):
    kind: str
    done: int = 0
    total: int = 0
    digest: str = ""
    offset: int = 0
    reason: str = ""


async def converse(
    node: Node,
    process: Process,
    request: dict[str, Any],
    *,
    on_progress: OnProgress | None = None,
    blobs: Blobs | None = None,
    on_seen: OnSeen | None = None,
    feed: AsyncIterator[bytes] | None = None,
) -> bytes:
    """Send a request to Python on a node, and answer what it needs until it has a result; arguments as in `ssh.ask`.

    Returns:
        The line of JSON with the result.

    Raises:
        NodeRefusedError: it refused, and says why.
        FleetError: it lacks Python, or answered with nonsense.
        OSError: the connection broke.
    """
    process.stdin.write(sources() + b"\n" + msgspec.json.encode(request) + b"\n")
    async with _fed(process, feed):
        return await _talk(node, process, on_progress, blobs, on_seen)


async def _talk(
    node: Node,
    process: Process,
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
            raise FleetError(
                f"node {node.name!r} answered with what is not a message ({error}): {line[:80]!r}"
            ) from None
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
async def _fed(process: Process, feed: AsyncIterator[bytes] | None) -> AsyncIterator[None]:
    """Send what follows a request while its answers are read."""

    async def send(content: AsyncIterator[bytes]) -> None:
        # A node that gave up has closed its end: its next line says why.
        with contextlib.suppress(OSError):
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
        await asyncio.gather(sending, return_exceptions=True)  # why it ended early, the answers say


async def _read_line(process: Process) -> bytes:
    async with asyncio.timeout(_ANSWER_S):
        try:
            # asyncssh stops reading at its window, 2 MB, as a pipe does at its limit: an endless line ends there.
            return bytes(await process.stdout.readuntil(b"\n"))
        except asyncio.IncompleteReadError as error:
            return bytes(error.partial)
        except asyncio.LimitOverrunError as error:
            return bytes(await process.stdout.read(error.consumed))


async def _send(process: Process, content: AsyncIterator[bytes]) -> None:
    async for chunk in content:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            process.stdin.write(chunk[start : start + _CHUNK_BYTES])
            await process.stdin.drain()


async def _explain_end(node: Node, process: Process) -> FleetError:
    """Why a node stopped talking before it had a result."""
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            said = await process.stderr.read(20_000)
            await process.wait_closed()
    if process.exit_status == 127:
        return FleetError(f"node {node.name!r} has no python3: apt-get install python3 there")
    if process.exit_status is None or process.exit_status < 0:  # a signal
        return NodeLostError(f"node {node.name!r} was lost: the connection ended; the same command goes on from there")
    lines = said.decode(errors="replace").split("\n")
    last = clean(next((line for line in reversed(lines) if line.strip()), f"status {process.exit_status}"))
    return FleetError(f"node {node.name!r} failed: {last}")


def clean(text: str) -> str:
    """What a node said, fit for a terminal: one line, no control characters, 500 at most."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()


@cache
def reporter() -> bytes:
    """The package edge/node as a zip that Python runs: it sends one report (edge/node/gateway.py)."""
    made, package = io.BytesIO(), files("edge.node")
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _REPORTER)
        archive.writestr("edge/__init__.py", "")
        archive.writestr("edge/node/__init__.py", "")
        for name in ("messages", "facts", "health", "gateway"):
            archive.writestr(f"edge/node/{name}.py", (package / f"{name}.py").read_bytes())
    return made.getvalue()


@cache
def sources() -> bytes:
    """What BOOTSTRAP reads first: the modules of edge/node in one line of JSON."""
    package = files("edge.node")
    return msgspec.json.encode([(f"edge.node.{name}", (package / f"{name}.py").read_text()) for name in _MODULES])
