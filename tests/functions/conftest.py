"""The brokers under contract, each on a file or server of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from functions.broker import Broker, connect


@pytest.fixture(params=["memory", "sqlite", pytest.param("rabbit", marks=pytest.mark.connected)])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    """An empty broker of each kind."""
    if request.param == "rabbit":
        url = request.getfixturevalue("rabbit_url")
    else:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"
    opened = await connect(url)
    yield opened
    await opened.close()


@pytest.fixture
def rabbit_url(rabbit_server: str) -> Iterator[str]:
    """An empty virtual host of the server."""
    if "BONGSU_TEST_AMQP_URL" in os.environ:
        yield rabbit_server
        return
    name = f"test{time.monotonic_ns()}"
    _rabbitmqctl("add_vhost", name)
    _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield f"{rabbit_server}/{name}"
    _rabbitmqctl("delete_vhost", name)


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ of our own on free ports, or the one that BONGSU_TEST_AMQP_URL names (an empty virtual host of it)."""
    if url := os.environ.get("BONGSU_TEST_AMQP_URL"):
        yield url
        return
    tools = _rabbit_tools()
    if tools is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server, or set BONGSU_TEST_AMQP_URL")
    home = tmp_path_factory.mktemp("rabbit")
    amqp = _free_port()
    _environment.update(
        RABBITMQ_NODENAME=f"bongsu{os.getpid()}@localhost",
        RABBITMQ_NODE_PORT=str(amqp),
        RABBITMQ_DIST_PORT=str(_free_port()),
        RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
        RABBITMQ_MNESIA_BASE=str(home),
        RABBITMQ_LOG_BASE=str(home),
        RABBITMQ_FEATURE_FLAGS_FILE=str(home / "feature_flags"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(home / "plugins"),
        HOME=str(home),  # where the Erlang cookie is
        PATH=f"{tools}:{os.environ['PATH']}",
    )
    with (home / "out.log").open("w") as log:
        server = subprocess.Popen(
            [tools / "rabbitmq-server"], stdout=log, stderr=log, cwd=home, env={**os.environ, **_environment}
        )
    try:
        _wait_for(amqp, server, home / "out.log")
        _rabbitmqctl("await_startup", "--timeout", "60")
        yield f"amqp://guest:guest@127.0.0.1:{amqp}"
    finally:
        server.terminate()
        server.wait(30)


_environment: dict[str, str] = {}


def _rabbit_tools() -> Path | None:
    # Debian's wrappers in PATH change to a user who may not write our folder; the real scripts are beside the code.
    found = [Path("/usr/lib/rabbitmq/bin"), Path(shutil.which("rabbitmq-server") or "/nowhere").parent]
    return next((folder for folder in found if (folder / "rabbitmq-server").is_file()), None)


def _rabbitmqctl(*arguments: str) -> None:
    command = [str(_rabbit_tools() or "") + "/rabbitmqctl", "-q", *arguments]
    subprocess.run(command, check=True, timeout=90, capture_output=True, env={**os.environ, **_environment})


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError(f"rabbitmq-server ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.1)
    raise RuntimeError("rabbitmq-server did not listen within 60 s")
