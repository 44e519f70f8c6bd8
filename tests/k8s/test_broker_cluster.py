"""Three nodes of RabbitMQ: the manifests agree, and real nodes with their settings outlive one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from functions.broker import Broker, BrokerError, connect
from functions.event import Message
from functions.topology import queues
from tests.k8s.conftest import ROOT, Cluster
from tests.servers import Rabbit, rabbit_tools

CONFIG = (ROOT / "k8s/components/broker-cluster/20-cluster.conf").read_text()
NODES = re.findall(r"^cluster_formation\.classic_config\.nodes\.\d = (\S+)$", CONFIG, re.MULTILINE)
SETTINGS = dict(
    literal.split("=", 1)
    for made in yaml.safe_load((ROOT / "k8s/components/broker-cluster/kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    for literal in made.get("literals", ())
)


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


def test_broker_pods_are_spread_and_disrupted_one_by_one(broker: dict[str, object]) -> None:
    spec = yaml.safe_load(yaml.safe_dump(broker))
    (rule,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert Cluster("edge").kind("PodDisruptionBudget")["rabbitmq"]["spec"]["maxUnavailable"] == 1


def test_every_worker_is_told_that_motion_is_replicated() -> None:
    assert SETTINGS == {"BONGSU_MOTION_REPLICATED": "1"}
    cluster = Cluster("edge")
    assert SETTINGS.items() <= cluster.kind("ConfigMap")["bongsu-settings"]["data"].items()


class Member(Rabbit):
    """One node of a cluster on this machine."""

    def __init__(self, home: Path, name: str, config: str) -> None:
        super().__init__(home)
        (home / "rabbitmq.conf").write_text(config)
        cookie = home / ".erlang.cookie"
        cookie.write_text("a-cookie-of-this-test")
        cookie.chmod(0o600)
        self._environment |= {
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def sees(self, names: Sequence[str]) -> bool:
        """Whether these are all running, as far as it knows; not while it is still joining."""
        try:
            return all(self.ctl("cluster_status").count(name) >= 3 for name in names)
        except subprocess.CalledProcessError:
            return False


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    if rabbit_tools() is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server")
    # What Debian's RabbitMQ 3.10 does not know yet: that queues grow by themselves.
    config = re.sub(r"(?m)^quorum_queue\.continuous.*\n", "", CONFIG)
    names = [f"b{i}x{os.getpid()}@127.0.0.1" for i in range(len(NODES))]
    for node, name in zip(NODES, names, strict=True):
        config = config.replace(node, name)
    with contextlib.ExitStack() as stack:
        found = [Member(tmp_path / str(i), name, config) for i, name in enumerate(names)]
        for member in found:
            stack.callback(member.kill)
        with ThreadPoolExecutor() as together:  # as a StatefulSet does whose pods are started in parallel
            list(together.map(Member.start, found))
        end_s = time.monotonic() + 100
        while not found[0].sees(names):
            assert time.monotonic() < end_s, found[0].ctl("cluster_status")
            time.sleep(1)
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
    # Until a new leader is chosen a quorum queue refuses, and publishers try again.
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
