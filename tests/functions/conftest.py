"""The brokers under contract, each on a file or server of its own."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from functions.broker import Broker, connect
from tests.servers import Rabbit, rabbit_tools

GIVEN = os.environ.get("BONGSU_TEST_BROKER_URL")
"""One more broker to hold to the contract, an empty one; `{tmp}` in it is a new folder for each test."""


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("rabbit", marks=pytest.mark.connected), *(["given"] if GIVEN else [])]
)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    """An empty broker of each kind."""
    if request.param == "rabbit":
        url = request.getfixturevalue("rabbit_url")
    elif request.param == "given":
        url = str(GIVEN).replace("{tmp}", str(tmp_path))
    else:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"
    opened = await connect(url)
    yield opened
    await opened.close()


@pytest.fixture
def rabbit_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty virtual host of a server of our own, or of the one that BONGSU_TEST_AMQP_URL names (an empty one)."""
    if url := os.environ.get("BONGSU_TEST_AMQP_URL"):
        yield url
        return
    server: Rabbit = request.getfixturevalue("rabbit_server")
    name = f"test{time.monotonic_ns()}"
    server.ctl("add_vhost", name)
    server.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield f"{server.url}/{name}"
    server.ctl("delete_vhost", name)


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A RabbitMQ of our own on free ports."""
    if rabbit_tools() is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server, or set BONGSU_TEST_AMQP_URL")
    server = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
