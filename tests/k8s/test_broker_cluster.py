"""Three nodes of RabbitMQ: the manifests agree, and real nodes with their settings outlive one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from functions.broker import Broker, BrokerError, connect
from functions.event import Message
from functions.topology import queues
from tests.k8s.conftest import ROOT, Cluster

CONFIG = (ROOT / "k8s/components/broker-cluster/20-cluster.conf").read_text()
NODES = re.findall(r"^cluster_formation\.classic_config\.nodes\.\d = (\S+)$", CONFIG, re.MULTILINE)
SETTINGS = dict(
    literal.split("=", 1)
    for made in yaml.safe_load((ROOT / "k8s/components/broker-cluster/kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    for literal in made.get("literals", ())
)
TOOLS = Path("/usr/lib/rabbitmq/bin")


@pytest.fixture
def broker() -> dict[str, object]:
    return Cluster("edge").kind("StatefulSet")["rabbitmq"]["spec"]


def test_the_nodes_find_each_other_by_the_names_that_they_have(broker: dict[str, object]) -> None:
    spec = yaml.safe_load(yaml.safe_dump(broker))
    (container,) = spec["template"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["RABBITMQ_USE_LONGNAME"] == "true"
    assert f".{spec['serviceName']}.bongsu.svc" in environment["RABBITMQ_NODENAME"]
    names = [environment["RABBITMQ_NODENAME"].replace("$(POD_NAME)", f"rabbitmq-{i}") for i in range(spec["replicas"])]
    assert names == NODES
    assert f"target_group_size = {spec['replicas']}" in CONFIG
    assert {c["image"] for c in spec["template"]["spec"]["initContainers"]} == {container["image"]}


def test_no_two_of_them_share_a_node_and_only_one_may_be_sent_away(broker: dict[str, object]) -> None:
    spec = yaml.safe_load(yaml.safe_dump(broker))
    (rule,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert Cluster("edge").kind("PodDisruptionBudget")["rabbitmq"]["spec"]["maxUnavailable"] == 1


def test_every_worker_is_told_that_motion_is_replicated() -> None:
    assert SETTINGS == {"BONGSU_MOTION_REPLICATED": "1"}
    cluster = Cluster("edge")
    assert SETTINGS.items() <= cluster.kind("ConfigMap")["bongsu-settings"]["data"].items()


class Member:
    """One node of a cluster on this machine."""

    def __init__(self, folder: Path, name: str, config: str) -> None:
        self._folder, self.port = folder, free_port()
        folder.mkdir()
        (folder / "rabbitmq.conf").write_text(config)
        (folder / "plugins").write_text("[].")
        (folder / ".erlang.cookie").write_text("a-cookie-of-this-test")
        (folder / ".erlang.cookie").chmod(0o600)
        self._environment = {
            **os.environ,
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "HOME": str(folder),
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
        }
        with (folder / "out.log").open("w") as log:
            self._process = subprocess.Popen(
                [TOOLS / "rabbitmq-server"], cwd=folder, stdout=log, stderr=log, env=self._environment
            )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def ctl(self, *arguments: str) -> str:
        command = [TOOLS / "rabbitmqctl", "-q", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self._environment)
        return done.stdout if done.returncode == 0 else ""

    def pid(self) -> int:
        """Of the Erlang machine itself, which the script that started it may outlive."""
        return int(next(self._folder.glob("*.pid")).read_text())

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, StopIteration):
            os.kill(self.pid(), 9)
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    if not (TOOLS / "rabbitmq-server").is_file():
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server")
    # What Debian's RabbitMQ 3.10 does not know yet: that queues grow by themselves.
    config = re.sub(r"(?m)^quorum_queue\.continuous.*\n", "", CONFIG)
    names = [f"b{i}x{os.getpid()}@127.0.0.1" for i in range(len(NODES))]
    for node, name in zip(NODES, names, strict=True):
        config = config.replace(node, name)
    with contextlib.ExitStack() as stack:
        found = []
        for i, name in enumerate(names):
            found.append(Member(tmp_path / str(i), name, config))
            stack.callback(found[-1].kill)
        end_s = time.monotonic() + 100
        while any(found[0].ctl("cluster_status").count(name) < 3 for name in names):
            assert time.monotonic() < end_s, found[0].ctl("cluster_status")
            time.sleep(1)
        for member in found:
            member.ctl("await_startup", "--timeout", "60")
        yield found


async def publish(broker: Broker, first: int) -> None:
    await broker.publish(*(Message("fire", str(i).encode(), {}) for i in range(first, first + 50)))


async def was_taken(broker: Broker, first: int) -> bool:
    try:
        await publish(broker, first)
    except BrokerError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.connected
async def test_what_was_confirmed_outlives_the_loss_of_any_one_node(
    members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    one, two, _ = members
    broker = await connect(one.url)
    await broker.declare(queues(["fire.map", "motion"]))
    await publish(broker, 0)
    one.kill()
    with contextlib.suppress(Exception):
        await broker.close()
    broker = await connect(two.url)
    # Until a new leader is chosen a quorum queue refuses, and whoever publishes tries again.
    async with asyncio.timeout(30):
        while not await was_taken(broker, 50):
            await asyncio.sleep(0.5)
    seen: set[int] = set()
    async with broker.consume(["fire.map"]) as consumer:
        while len(seen) < 100:
            delivery = await consumer.get(20)
            assert delivery is not None, f"only {len(seen)} of 100 came"
            seen.add(int(delivery.message.body))
            await delivery.ack()
    assert seen == set(range(100))
    # And detection goes on: bursts come and go through the two nodes that are left.
    async with asyncio.timeout(30), broker.consume(["motion"]) as consumer:
        await broker.publish(Message("motion", b"a burst", {}))
        delivery = await consumer.get()
        assert delivery is not None and delivery.message.body == b"a burst"
        await delivery.release()
        again = await consumer.get()
        assert again is not None and again.message.body == b"a burst"
        await again.ack()
    await broker.close()
