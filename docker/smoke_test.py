"""Starts the built images against a real RabbitMQ and MariaDB of this machine, and waits for an alert.

    python docker/smoke_test.py [--tag 0.1.0] [--opinion] [--only relay|services]

The alert must be on the map with its picture, in the feed, at a webhook, on a subscribed browser and in MQTT; with
`--opinion`, for a captioner built with CAPTION_EXTRAS=opinion, a vision network is asked first. Then the receive server
of sessions, the fleet's registry and its gateway do their work (`smoke_services.py`).

Every container runs as on a cluster: not root, read-only, without capabilities, with the secrets that `make secrets`
would make. Needs a Docker engine, rabbitmq-server, mariadb-server, mosquitto and mosquitto-clients (not running), and
the virtual environment. Prints the memory of each image; exit status 1 if an alert did not come, or a container did not
stop on request.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml
from smoke_containers import RESTRICTED, free_port, get, wait_for
from smoke_receivers import Receivers
from smoke_services import check_services

ROOT = Path(__file__).resolve().parent.parent
CAMERA = """\
cameras:
  - id: depot-1
    url: /clips/fire.mp4
    place: {lat: 37.5446, lon: 127.0557, name: "Depot, gate 1"}
"""


def main() -> int:
    """Run all of it once; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", default="0.1.0")
    parser.add_argument("--opinion", action="store_true")
    parser.add_argument("--only", choices=["relay", "services"])
    given = parser.parse_args()
    codes = [run_relay(given.tag, has_opinion=given.opinion)] if given.only != "services" else []
    codes += [check_services(given.tag)] if given.only != "relay" else []
    return max(codes)


def run_relay(tag: str, *, has_opinion: bool) -> int:
    """From a camera to every receiver; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="bongsu-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        secrets = make_secrets(folder)
        amqp, management, metrics = stack.enter_context(rabbitmq(folder / "rabbit", secrets / "definitions.json"))
        database = stack.enter_context(mariadb(folder / "mysql", read(secrets / "mysql.env")))
        # As in the cluster: each has its own user, named after its container.
        own = {
            path.stem.removeprefix("broker-"): {
                name: value.replace("rabbitmq:5672", f"127.0.0.1:{amqp}") for name, value in read(path).items()
            }
            for path in secrets.glob("broker-*.env")
        }
        receivers = stack.enter_context(Receivers(folder / "mosquitto"))
        for service, keys in (("caption", "key"), ("map", "public"), ("post", "public"), ("push", "public")):
            own[service] |= read(secrets / f"caption-{keys}.env")
        own["push"] |= read(secrets / "push-key.env")
        own["api"] |= read(secrets / "push-public.env")
        for service, variables in receivers.environment(has_opinion=has_opinion).items():
            own.setdefault(service, {}).update(variables)
        url = read(secrets / "database.env")["BONGSU_DATABASE_URL"].replace("mysql:3306", f"127.0.0.1:{database}")
        run = Containers(stack, folder, tag, {"BONGSU_DATABASE_URL": url}, own)
        queues = declared_queues()
        run.once("function", "topology", ["bongsu", "topology", "apply", *queues])
        run.once("api", "migration", ["bongsu", "db", "upgrade"])
        check_keda(read(secrets / "keda.env"), amqp, management, queues)
        check_metrics(metrics)
        return run.relay(receivers, has_opinion=has_opinion)


def declared_queues() -> list[str]:
    """The queues of the topology Job."""
    text = (ROOT / "k8s/base/topology.yaml").read_text()
    return re.findall(r"^ +- (motion|[a-z]+\.[a-z]+)$", text, re.MULTILINE)


def make_secrets(folder: Path) -> Path:
    """What `make secrets ENV=local` writes, for a copy of the overlay."""
    shutil.copytree(ROOT / "k8s/overlays/local", folder / "k8s/overlays/local", ignore=shutil.ignore_patterns("*.env"))
    shutil.copy(ROOT / "k8s/credentials.py", folder / "k8s")
    subprocess.run([sys.executable, folder / "k8s/credentials.py", "local"], check=True, capture_output=True)
    return folder / "k8s/overlays/local/secrets"


def read(path: Path) -> dict[str, str]:
    """An .env file."""
    pairs = [line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: value for name, _, value in pairs}


@contextlib.contextmanager
def rabbitmq(folder: Path, definitions: Path) -> Iterator[tuple[int, int, int]]:
    """RabbitMQ with the users of the definitions; its ports of AMQP, management and metrics."""
    folder.mkdir()
    # Debian's wrappers in PATH change to a user who may not write our folder; the real scripts are elsewhere.
    tools = Path("/usr/lib/rabbitmq/bin")
    amqp, management, metrics = free_port(), free_port(), free_port()
    documents = yaml.safe_load_all((ROOT / "k8s/base/rabbitmq.yaml").read_text())
    (config,) = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    (folder / "plugins").write_text(config["enabled_plugins"])
    # As on a cluster, except for the paths.
    text = config["10-bongsu.conf"].replace("/etc/bongsu/rabbitmq/definitions.json", str(definitions))
    (folder / "rabbitmq.conf").write_text(
        f"{text}\nmanagement.tcp.port = {management}\nmanagement.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {metrics}\n"
    )
    environment = {
        **os.environ,
        "RABBITMQ_NODENAME": f"smoke{os.getpid()}@localhost",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "HOME": str(folder),  # where the Erlang cookie is
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    with server([str(tools / "rabbitmq-server")], folder, environment):
        control = [str(tools / "rabbitmqctl"), "-q", "await_startup", "--timeout", "60"]
        wait_for(lambda: tried(control, env=environment).returncode == 0, 90)
        yield amqp, management, metrics


@contextlib.contextmanager
def mariadb(folder: Path, settings: dict[str, str]) -> Iterator[int]:
    """MariaDB with the database and the user of mysql.env; its port."""
    data, sock, port = folder / "data", folder / "sock", free_port()
    data.mkdir(parents=True)
    common = ["--no-defaults", f"--datadir={data}"] + (["--user=root"] if os.getuid() == 0 else [])
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=socket", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True)
    command = ["mariadbd", *common, f"--socket={sock}", f"--pid-file={folder}/pid", f"--port={port}"]
    with server([*command, "--bind-address=127.0.0.1"], folder, dict(os.environ)):
        client = ["mariadb", "--no-defaults", f"--socket={sock}"]
        sql = (
            f"CREATE DATABASE {settings['MARIADB_DATABASE']} CHARACTER SET utf8mb4; "
            f"CREATE USER '{settings['MARIADB_USER']}'@'%' IDENTIFIED BY '{settings['MARIADB_PASSWORD']}'; "
            f"GRANT ALL ON {settings['MARIADB_DATABASE']}.* TO '{settings['MARIADB_USER']}'@'%';"
        )
        wait_for(lambda: tried([*client, "-e", "SELECT 1"]).returncode == 0, 30)
        subprocess.run([*client, "-e", sql], check=True)
        yield port


@contextlib.contextmanager
def server(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a server, with its output in a file, and stop it at the end."""
    with (folder / "out.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def check_keda(urls: dict[str, str], amqp: int, management: int, queues: list[str]) -> None:
    """Check that KEDA's user sees every queue over both protocols, and may neither declare nor publish."""
    over_amqp = urls["amqp"].replace("rabbitmq.bongsu.svc:5672", f"127.0.0.1:{amqp}")
    probe = """
import asyncio, sys, aio_pika, aiormq
async def main(url, queues):
    connection = await aio_pika.connect(url)
    for name in queues:
        await (await connection.channel()).declare_queue(name, passive=True)
    publish = lambda channel: channel.default_exchange.publish(aio_pika.Message(b""), "motion")
    for forbidden in (lambda channel: channel.declare_queue("mine"), publish):
        try:
            await forbidden(await connection.channel())
        except aiormq.exceptions.ChannelAccessRefused:
            continue
        sys.exit("the user of KEDA may do more than look")
    await connection.close()
asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""
    subprocess.run([sys.executable, "-c", probe, over_amqp, *queues], check=True)
    user, _, password = urls["http"].removeprefix("http://").partition("@")[0].partition(":")
    opener = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    opener.add_password(None, f"http://127.0.0.1:{management}/", user, password)
    web = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(opener))
    for name in queues:
        web.open(f"http://127.0.0.1:{management}/api/queues/%2F/{name}", timeout=5).read()
    print(f"KEDA's user sees {len(queues)} queues over amqp and http, and may not declare or publish")


def check_metrics(port: int) -> None:
    """Check that RabbitMQ serves the metrics that the rules and dashboards use."""
    served = get(f"http://127.0.0.1:{port}/metrics")
    folder = ROOT / "k8s/components/monitoring"
    asked = set(re.findall(r"\brabbitmq_[a-z_]+", (folder / "rules.yaml").read_text()))
    asked |= set(re.findall(r"\brabbitmq_[a-z_]+", (folder / "dashboards/relay.json").read_text()))
    missing = [name for name in asked if f'\n{name}{{queue="motion"' not in served and f"\n{name}{{" not in served]
    if missing or not asked:
        sys.exit(f"RabbitMQ does not serve {missing}")
    print(f"RabbitMQ serves the {len(asked)} metrics that are used, for each queue")


class Containers:
    """The images, started as in the manifests."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        folder: Path,
        tag: str,
        environment: dict[str, str],
        own: dict[str, dict[str, str]],
    ) -> None:
        self._own = own
        self._stack, self._tag, self._environment = stack, tag, environment
        self._site, self._snapshots = folder / "site", folder / "snapshots"
        self._site.mkdir()
        (self._site / "cameras.yaml").write_text(CAMERA)
        self._snapshots.mkdir()
        os.chown(self._snapshots, 10001, 10001)
        self._names: dict[str, str] = {}
        self._web = free_port()

    def once(self, image: str, name: str, command: list[str]) -> None:
        """Run a container to its end."""
        subprocess.run(
            ["docker", "run", "--rm", *self._options(name), f"bongsu/{image}:{self._tag}", *command], check=True
        )

    def relay(self, receivers: Receivers, *, has_opinion: bool) -> int:
        """Start everything, wait until all have the alert, stop everything; returns the exit status."""
        begun = time.monotonic()
        web = {"BONGSU_HTTP_PORT": str(self._web), "BONGSU_HTTP_HOST": "127.0.0.1"}
        self._start("api", "api", ["python", "-m", "api.server"], web)
        for image, name in (
            ("detect", "detect"),
            ("function", "notify.map"),
            ("caption", "notify.caption"),
            ("function", "notify.post"),
            ("function", "notify.push"),
        ):
            self._start(image, name.rpartition(".")[2], ["python", "-m", "functions", name], {})
        self._start("function", "mqtt", ["python", "-m", "notify.mqtt"], {})
        wait_for(lambda: '"status"' in get(f"http://127.0.0.1:{self._web}/healthz"), 120)
        receivers.subscribe(f"http://127.0.0.1:{self._web}")
        self._start("motion", "motion", ["python", "-m", "motion"], {"BONGSU_CAMERAS": "/site/cameras.yaml"})
        try:
            wait_for(lambda: self._is_posted() and not receivers.missing(has_opinion=has_opinion), 300)
        except TimeoutError:
            waiting = [*([] if self._is_posted() else ["map or feed"]), *receivers.missing(has_opinion=has_opinion)]
            print(f"no alert within 300 s: {', '.join(waiting)}")
            self._explain()
            return 1
        print(f"push: {receivers.browser.received[0]['title']}; webhook: {receivers.webhook.posts[0]['text']['en']}")
        print(
            f"an alert with its picture was posted {time.monotonic() - begun:.1f} s after the first container's start"
        )
        sizes = {name: self._memory(name) for name in self._names}
        codes = {name: self._stop(name) for name in self._names}
        for name, memory in sizes.items():
            print(f"{name:10} {memory:>10}  exit {codes[name]}")
        return 0 if set(codes.values()) == {0} else 1

    def _is_posted(self) -> bool:
        incidents = json.loads(get(f"http://127.0.0.1:{self._web}/api/incidents"))["features"]
        if not incidents or not json.loads(get(f"http://127.0.0.1:{self._web}/feed.json"))["items"]:
            return False
        url = f"http://127.0.0.1:{self._web}/api/incidents/{incidents[0]['id']}/snapshot"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.read(2) == b"\xff\xd8")

    def _options(self, name: str, more: dict[str, str] | None = None) -> list[str]:
        environment = {
            **self._environment,
            "BONGSU_SNAPSHOT_URL": "/snapshots",
            **self._own.get(name, {}),
            **(more or {}),
        }
        options = ["--name", f"smoke-{os.getpid()}-{name}", *RESTRICTED]
        options += ["-v", f"{self._snapshots}:/snapshots", "-v", f"{self._site}:/site:ro"]
        options += ["-v", f"{ROOT / 'local/demo/media'}:/clips:ro"]
        return options + [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]

    def _start(self, image: str, name: str, command: list[str], environment: dict[str, str]) -> None:
        full = f"bongsu/{image}:{self._tag}"
        subprocess.run(
            ["docker", "run", "--detach", *self._options(name, environment), full, *command],
            check=True,
            capture_output=True,
        )
        self._names[name] = f"smoke-{os.getpid()}-{name}"
        self._stack.callback(tried, ["docker", "rm", "--force", self._names[name]])

    def _memory(self, name: str) -> str:
        command = ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", self._names[name]]
        return tried(command).stdout.partition("/")[0].strip()

    def _stop(self, name: str) -> int:
        tried(["docker", "stop", "--time", "30", self._names[name]])
        command = ["docker", "inspect", "--format", "{{.State.ExitCode}}", self._names[name]]
        return int(tried(command).stdout)

    def _explain(self) -> None:
        for name, container in self._names.items():
            done = tried(["docker", "logs", "--tail", "5", container])
            print(f"--- {name}\n{done.stdout}{done.stderr}")


def tried(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, without raising if it fails."""
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
