"""Connections that break in the middle, and nodes that lie: a proxy that cuts TLS, a server that talks nonsense."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import msgspec
import pytest

from edge import ssh
from edge.errors import FleetError
from edge.facts import Facts
from edge.nodes import Node
from tests.edge.conftest import Fleet
from tests.edge.servers import OciRegistry, SshNode
from tests.edge.test_deploy_to_nodes import BIG, add, current, push, wait_for_part

pytestmark = pytest.mark.connected


class CuttingProxy:
    """Passes TCP on to a port, and cuts the connection that carries byte `cut_at`, once."""

    def __init__(self, port: int, cut_at: int) -> None:
        self._target, self._left, self.cuts = port, cut_at, 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._pass_on, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while chunk := await source.read(65536):
                self._left -= len(chunk)
                if self._left < 0 and not self.cuts:
                    self.cuts += 1
                    writer.transport.abort()
                    far_writer.transport.abort()
                    return
                sink.write(chunk)
                await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)


@pytest.fixture
def proxied(registry: OciRegistry, fleet: Fleet) -> Iterator[Callable[[int], CuttingProxy]]:
    """The registry behind a proxy that cuts at a byte."""
    proxies: list[CuttingProxy] = []

    def start(cut_at: int) -> CuttingProxy:
        proxies.append(proxy := CuttingProxy(registry.port, cut_at))
        fleet.environment |= {**registry.environment, "BONGSU_MODEL_REGISTRY": f"https://127.0.0.1:{proxy.port}"}
        return proxy

    yield start
    for proxy in proxies:
        proxy.stop()


def test_a_push_goes_on_after_a_cut(
    fleet: Fleet, proxied: Callable[[int], CuttingProxy], make_model: Callable[..., Path]
) -> None:
    proxy = proxied(14_000_000)
    fleet.ok("models", "keygen")
    fleet.ok("models", "push", str(make_model("1", size=20_000_000)), "--sign")
    assert proxy.cuts == 1
    fleet.ok("models", "verify", "hazard:1")


def test_a_pull_goes_on_after_a_cut(
    fleet: Fleet, registry: OciRegistry, proxied: Callable[[int], CuttingProxy], make_model: Callable[..., Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    fleet.environment |= registry.environment
    folder = make_model("1", size=20_000_000)
    fleet.ok("models", "push", str(folder))
    proxy = proxied(14_000_000)
    fleet.ok("models", "pull", "hazard:1", "--into", str(tmp_path / "pulled"))
    assert proxy.cuts == 1
    assert (tmp_path / "pulled/weights.onnx").read_bytes() == (folder / "weights.onnx").read_bytes()
    (again,) = [size for path, status, size in registry.sent() if status == 206]
    assert again < 12_000_000


def test_a_node_goes_on_after_a_cut(
    fleet: Fleet, registry: OciRegistry, proxied: Callable[[int], CuttingProxy], make_model: Callable[..., Path],
    new_node: Callable[..., SshNode],
) -> None:  # fmt: skip
    fleet.environment |= registry.environment
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1", size=20_000_000))
    proxy = proxied(14_000_000)
    fleet.ok("models", "deploy", "hazard:1", "--nodes", "gate-1")
    assert proxy.cuts == 1
    assert (current(node) / "weights.onnx").stat().st_size == 20_000_000


def test_a_disk_that_fills_up_in_the_middle_is_one_line(
    tmp_path: Path, fleet: Fleet, new_node: Callable[..., SshNode], make_model: Callable[..., Path]
) -> None:
    home = tmp_path / "gate/home"
    home.mkdir(parents=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(home)]).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        node = new_node("gate")
        add(fleet, node, "gate-1")
        push(fleet, make_model("1", size=BIG))
        deploying = fleet.start("models", "deploy", "hazard:1", "--nodes", "all")
        wait_for_part(node, BIG // 8, deploying)
        with pytest.raises(OSError, match="No space left"), (home / "other").open("wb") as other:
            while True:
                other.write(bytes(1 << 20))
        _, errors = deploying.communicate(timeout=60)
        assert deploying.returncode == 1
        assert "disk full: " in errors
        assert "Traceback" not in errors
        (home / "other").unlink()
        fleet.ok("models", "deploy", "hazard:1", "--nodes", "all")
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello\n",
    "no end of a line": b"x" * 3_000_000,
    "half a line": b'{"kind": "res',
    "not an object": b"[1, 2]\n",
    "nested": b"[" * 100_000 + b"\n",
    "unknown kind, then nothing": b'{"kind": "surprise"}\n',
    "wrong types": b'{"kind": "result", "architecture": 7}\n',
    "negative sizes": json.dumps({"kind": "result", "architecture": "arm64", "cpus": -1, "memory_bytes": 1,
                                  "disk_bytes": 1, "disk_free_bytes": 1}).encode() + b"\n",
    "a long name": json.dumps({"kind": "result", "architecture": "a" * 10_000, "cpus": 1, "memory_bytes": 1,
                               "disk_bytes": 1, "disk_free_bytes": 1}).encode() + b"\n",
    "control characters": b'{"kind": "error", "reason": "\\u001b[2J\\nbongsu: all is well"}\n',
    "not UTF-8": b'{"kind": "error", "reason": "\xff\xfe"}\n',
    "a blob that was not offered": b'{"kind": "need", "digest": "sha256:00", "offset": -5}\n',
}  # fmt: skip


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
async def test_what_a_node_says_is_believed_only_in_its_form(said: bytes) -> None:
    async def talk(process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            process.stdout.write(said)
            await process.stdout.drain()
        except OSError:
            pass
        process.exit(0)

    async with lying_server(talk) as node:
        with pytest.raises(FleetError) as caught:
            async with asyncio.timeout(30):
                await ssh.ask(node, {"command": "facts"}, Facts)
    assert "liar" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


class lying_server:  # noqa: N801 - reads as a function where it is used
    """An SSH server that accepts anybody and sends given bytes."""

    def __init__(self, talk: Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]]) -> None:
        self._talk = talk

    async def __aenter__(self) -> Node:
        host_key = asyncssh.generate_private_key("ssh-ed25519")

        class Open(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return False

        self._server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Open, server_host_keys=[host_key], process_factory=self._talk, encoding=None
        )
        return Node(
            name="liar", added_at=datetime.now(UTC), ssh=f"x@127.0.0.1:{self._server.get_port()}",
            host_key=host_key.export_public_key().decode(),
        )  # fmt: skip

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def test_a_manifest_of_nonsense_is_one_line() -> None:
    from edge.oci.manifest import decode_manifest

    for content in (b"", b"[]", b"{}", b"[" * 100_000, msgspec.json.encode({"schemaVersion": 2, "layers": []})):
        with pytest.raises(FleetError, match="not an OCI image manifest"):
            decode_manifest(content)


def test_interrupted_deployment_resumes_without_traceback(
    fleet: Fleet, new_node: Callable[..., SshNode], make_model: Callable[..., Path]
) -> None:
    node = new_node("gate")
    add(fleet, node, "gate-1")
    push(fleet, make_model("1", size=BIG))
    deploying = fleet.start("models", "deploy", "hazard:1", "--nodes", "all")
    wait_for_part(node, BIG // 2, deploying)
    deploying.send_signal(signal.SIGINT)
    _, errors = deploying.communicate(timeout=60)
    assert deploying.returncode == 130
    assert "Traceback" not in errors
    assert not current(node).exists()
    said = fleet.ok("models", "deploy", "hazard:1", "--nodes", "all")
    assert float(said.split(" in use, ")[1].split()[0]) < 0.6 * BIG / 1e6
