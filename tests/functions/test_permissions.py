"""Every service's broker user on a real RabbitMQ, with the definitions of `make secrets`: what it may, and what not."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from functions.broker import BrokerError, NotPermitted, connect
from functions.event import HAZARDS, Message
from functions.permissions import Service, definitions, secret_name
from functions.topology import DEAD, EXCHANGE, REQUEUE, delay_name, queues, retry_name
from tests.k8s.conftest import ROOT, copy_of_the_manifests, load_script
from tests.servers import Rabbit, rabbit_tools

pytestmark = [pytest.mark.connected, pytest.mark.timeout(600)]

QUEUES = (
    "motion", "motion.seoul", "camera.map", "captioned.map", "captioned.post", "held.map",
    *(f"{hazard}.{function}" for hazard in HAZARDS for function in ("map", "caption")),
)  # fmt: skip
MAY_READ: dict[str, set[str]] = {
    "motion": set(),
    "detect": {"motion", "motion.seoul"},
    "map": {"camera.map", "captioned.map", "held.map", *(f"{hazard}.map" for hazard in HAZARDS)},
    "caption": {f"{hazard}.caption" for hazard in HAZARDS},
    "post": {"captioned.post"},
    "operator": {DEAD},
    "keda": set(),
}
MAY_PUBLISH: dict[str, set[str]] = {
    "motion": {"motion", "motion.seoul", "camera"},
    "detect": set(HAZARDS),
    "caption": {"captioned", "held"},
    "map": set(),
    "post": set(),
    "operator": set(),
    "keda": set(),
}


@dataclass(frozen=True)
class Site:
    """A broker as `make deploy` leaves it."""

    server: Rabbit
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        password = self.passwords["keda" if user == "keda" else f"broker_{user}"]
        return f"amqp://{user}:{password}@127.0.0.1:{self.server.port}/"

    def ask(self, user: str, method: str, path: str, body: object = None) -> tuple[int, str]:
        """The status and the answer of the management API."""
        credentials = base64.b64encode(f"{user}:{self.passwords['keda']}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.management_port}/api/{path}", method=method,
            data=None if body is None else json.dumps(body).encode(), headers={"Authorization": f"Basic {credentials}"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if rabbit_tools() is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server")
    folder = copy_of_the_manifests(tmp_path_factory.mktemp("site")) / "k8s/overlays/local/secrets"
    load_script(ROOT / "k8s/credentials.py").write_secrets(folder)
    passwords = dict(line.split("=", 1) for line in (folder / "passwords.env").read_text().splitlines())
    server = Rabbit(tmp_path_factory.mktemp("rabbit"), has_management=True)
    try:
        server.start()
        server.ctl("import_definitions", str(folder / "definitions.json"))
        server.ctl("delete_user", "guest")
        yield Site(server, passwords)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def declared(site: Site) -> Site:
    """The same, once the topology Job ran."""
    done = subprocess.run(
        [sys.executable, "-c", "from functions.cli import main; main()", "topology", "apply", *QUEUES],
        env={**os.environ, "BONGSU_BROKER_URL": site.url("topology")}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return site


async def is_refused(channel: AbstractChannel, act: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
    """Whether RabbitMQ says that the user may not."""
    try:
        await act(channel)
    except ChannelAccessRefused:
        return True
    return False


async def refusals(url: str, acts: dict[str, Callable[[AbstractChannel], Awaitable[object]]]) -> set[str]:
    """Which of these a user is refused, each on a channel of its own."""
    connection = await aio_pika.connect(url)
    try:
        return {name for name, act in acts.items() if await is_refused(await connection.channel(), act)}
    finally:
        await connection.close()


def publishing(exchange: str, key: str) -> Callable[[AbstractChannel], Awaitable[object]]:
    async def publish(channel: AbstractChannel) -> None:
        found = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await found.publish(aio_pika.Message(b"forged"), key, mandatory=False)

    return publish


def reading(queue: str) -> Callable[[AbstractChannel], Awaitable[object]]:
    async def read(channel: AbstractChannel) -> None:
        found = await channel.get_queue(queue, ensure=False)
        message = await found.get(fail=False)
        if message is not None:
            await message.nack(requeue=True)

    return read


def test_a_service_that_finds_no_topology_says_who_makes_it(site: Site) -> None:
    # Before `declared`, which is asked for below.
    async def start() -> None:
        await connect(site.url("map"))

    import asyncio

    with pytest.raises(BrokerError, match="user 'map' may not declare: run bongsu topology apply"):
        asyncio.run(start())


@pytest.mark.parametrize("user", MAY_READ)
async def test_a_user_reads_its_own_queues_and_no_others(declared: Site, user: str) -> None:
    everything = {*QUEUES, DEAD, delay_name(5)}
    refused = await refusals(declared.url(user), {queue: reading(queue) for queue in everything})
    assert refused == everything - MAY_READ[user]


@pytest.mark.parametrize("user", MAY_PUBLISH)
async def test_a_user_publishes_its_own_facts_and_no_others(declared: Site, user: str) -> None:
    keys = {"motion", "motion.seoul", "camera", *HAZARDS, "captioned", "anything", "motionless"}
    refused = await refusals(declared.url(user), {key: publishing(EXCHANGE, key) for key in keys})
    assert refused == keys - MAY_PUBLISH[user]


@pytest.mark.parametrize("user", MAY_READ)
async def test_a_user_gives_back_only_what_it_may_read(declared: Site, user: str) -> None:
    ways = {
        f"{exchange or 'default'} to {queue}": publishing(exchange, queue)
        for exchange in (REQUEUE, retry_name(1), retry_name(300), "")
        for queue in QUEUES
    }
    allowed = {f"{e} to {q}" for e in (REQUEUE, retry_name(1), retry_name(300)) for q in MAY_READ[user]}
    if user == "operator":  # it replays a dead letter into whatever queue that died in
        allowed = {f"{REQUEUE} to {q}" for q in QUEUES}
    assert await refusals(declared.url(user), ways) == set(ways) - allowed


@pytest.mark.parametrize("user", MAY_READ)
async def test_nobody_but_the_topology_job_configures(declared: Site, user: str) -> None:
    async def unbind(channel: AbstractChannel) -> None:
        await (await channel.get_queue("fire.map", ensure=False)).unbind(EXCHANGE, "fire")

    async def bind(channel: AbstractChannel) -> None:
        await (await channel.get_queue("captioned.post", ensure=False)).bind(EXCHANGE, "fire")

    async def purge(channel: AbstractChannel) -> None:
        # It takes the right to read: a consumer may lose its messages anyway.
        await (await channel.get_queue("captioned.post", ensure=False)).purge()

    acts: dict[str, Callable[[AbstractChannel], Awaitable[object]]] = {
        "declare": lambda channel: channel.declare_queue("mine"),
        "a private queue": lambda channel: channel.declare_queue(exclusive=True),
        "redeclare": lambda channel: channel.declare_queue("camera.map", durable=True, arguments={"x-max-length": 1}),
        "exchange": lambda channel: channel.declare_exchange("mine"),
        "delete": lambda channel: channel.queue_delete("fire.map"),
        "delete exchange": lambda channel: channel.exchange_delete(EXCHANGE),
        "bind": bind,
        "unbind": unbind,
        "purge": purge,
    }
    assert await refusals(declared.url(user), acts) == set(acts) - ({"purge"} if user == "post" else set())


@pytest.mark.parametrize("user", [u for u, readable in MAY_READ.items() if readable and u != "operator"])
async def test_a_service_works_with_its_rights_alone(declared: Site, user: str) -> None:
    queue = sorted(MAY_READ[user])[0]
    declared.server.ctl("purge_queue", queue)
    connection = await aio_pika.connect(declared.url("topology"))
    channel = await connection.channel()
    await publishing(EXCHANGE, queue.partition(".")[0] if queue != "motion.seoul" else queue)(channel)
    broker = await connect(declared.url(user))
    await broker.ensure(queues([queue]))
    async with broker.consume([queue]) as consumer:
        for act in ("retry", "release", "reject"):
            delivery = await consumer.get(30)
            assert delivery is not None, act
            if act == "retry":
                await delivery.retry("not yet", after_s=1)
            elif act == "release":
                await delivery.release()
            else:
                await delivery.reject("never")
    with pytest.raises(NotPermitted, match=f"user '{user}' may not publish"):
        await broker.publish(Message("parked", b"x", {}))
    for type_ in MAY_PUBLISH[user]:
        await broker.publish(Message(type_, b"x", {}))
    await broker.close()
    operator = await connect(declared.url("operator"))
    letters = [letter for letter in await operator.dead_letters(queue) if letter.reason == "never"]
    assert await operator.replay(letter.id for letter in letters) == 1
    await operator.close()
    assert (await channel.declare_queue(queue, passive=True)).declaration_result.message_count == 1
    await connection.close()


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_a_copy_to_another_queue_is_refused_or_a_dead_letter(declared: Site, header: str) -> None:
    # RabbitMQ may check the routing key alone; then the consumer does.
    declared.server.ctl("purge_queue", "fire.map")
    connection = await aio_pika.connect(declared.url("motion"))
    channel = await connection.channel()
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)
    # As if it had been retried from that queue: this header is not trusted either.
    headers = {header: ["fire"], "x-bongsu-routing-key": "fire"}
    copy = aio_pika.Message(b"copied", headers=headers)
    refused = await is_refused(channel, lambda _: exchange.publish(copy, "camera", mandatory=False))
    await connection.close()
    broker, operator = await connect(declared.url("map")), await connect(declared.url("operator"))
    async with broker.consume(["fire.map"]) as consumer:
        assert await consumer.get(0.5 if refused else 3) is None
    letters = [letter for letter in await operator.dead_letters("fire.map") if letter.message.body == b"copied"]
    assert refused or ["routing key 'camera'" in letter.reason for letter in letters] == [True]
    assert await operator.replay(letter.id for letter in letters) == len(letters)  # an operator may still decide
    await broker.close()
    await operator.close()


def test_keda_counts_over_both_protocols_and_reads_no_message(declared: Site) -> None:
    for queue in QUEUES:
        status, answer = declared.ask("keda", "GET", f"queues/%2F/{queue}")
        assert status == 200
        assert json.loads(answer)["name"] == queue
    get = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    for method, path, body in (
        ("POST", "queues/%2F/fire.map/get", get),
        ("POST", "exchanges/%2F/bongsu/publish", {"routing_key": "fire", "payload": "", "payload_encoding": "string",
                                                 "properties": {}}),
        ("DELETE", "queues/%2F/fire.map", None),
        ("DELETE", "queues/%2F/fire.map/contents", None),
        ("PUT", "queues/%2F/mine", {}),
        ("GET", "users", None),
        ("GET", "definitions", None),
    ):  # fmt: skip
        status, answer = declared.ask("keda", method, path, body)
        assert status in (400, 401, 403, 404), (method, path, status, answer)
        assert method == "GET" or "refused" in answer or status == 401, answer


def test_own_function_gets_a_broker_user_with_its_rights() -> None:
    wanted = definitions([Service("hospital", ("accident.hospital",), ("ambulance",))])
    (rights,) = [p for p in wanted["permissions"] if p["user"] == "hospital"]
    assert rights["configure"] == "^$"
    assert rights["read"] == r"^(accident\.hospital)$"
    keys = {p["exchange"]: p["write"] for p in wanted["topic_permissions"] if p["user"] == "hospital"}
    assert keys[EXCHANGE] == "^(ambulance)$"
    assert keys[REQUEUE] == r"^(accident\.hospital)$"
    assert secret_name("fire_watch") == "bongsu-broker-fire-watch"


@pytest.mark.parametrize("name", ["keda", "topology", "operator", "guest"])
def test_a_function_cannot_take_the_name_of_another_user(name: str) -> None:
    with pytest.raises(ValueError, match=f"a function cannot be called '{name}'"):
        definitions([Service(name, ("fire.x",))])
