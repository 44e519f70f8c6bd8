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
    if shutil.which("rabbitmq-server") is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server, or set BONGSU_TEST_AMQP_URL")
    home = tmp_path_factory.mktemp("rabbit")
    amqp, dist = _free_port(), _free_port()
    os.environ.update(
        RABBITMQ_NODENAME=f"bongsu{os.getpid()}@localhost",
        RABBITMQ_NODE_PORT=str(amqp),
        RABBITMQ_DIST_PORT=str(dist),
        RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
        RABBITMQ_MNESIA_BASE=str(home),
        RABBITMQ_LOG_BASE=str(home),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(home / "plugins"),
        RABBITMQ_GENERATED_CONFIG_DIR=str(home),
        # The Erlang cookie is looked for in HOME.
        HOME=str(home),
    )
    log = (home / "out.log").open("w")
    server = subprocess.Popen(["rabbitmq-server"], stdout=log, stderr=log)
    try:
        _wait_for(amqp, server, home / "out.log")
        _rabbitmqctl("await_startup", "--timeout", "60")
        yield f"amqp://guest:guest@127.0.0.1:{amqp}"
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            _rabbitmqctl("stop")
        server.wait(30)


def _rabbitmqctl(*arguments: str) -> None:
    subprocess.run(["rabbitmqctl", "-q", *arguments], check=True, timeout=90, capture_output=True)


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
