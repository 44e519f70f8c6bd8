"""A fleet in network namespaces: a registry behind a shaped link, a site's mirror, nodes with sshd; `fleet.py` uses it.

    registry ──100 Mbit/s── bridge ── node, node, node, …; mirror; this machine

Needs root. Everything that it makes is named `bongsub…` and is deleted in the end,
and before a run if the one before was killed. The registries ask for no password: as a mirror, Debian's docker-registry
2.8 can sign in to another registry with a Bearer token alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.edge.servers import SEARCHED, OciRegistry, SshNode, make_certificates

_BRIDGE = "bongsub"
HERE, REGISTRY, MIRROR = "10.214.0.254", "10.214.0.1", "10.214.0.2"


class LinkedNode(SshNode):
    """A node in a namespace of its own."""

    def __init__(self, home: Path, client_key: Path, number: int) -> None:
        """Make the namespace; `number` is below 200."""
        self.host = f"10.214.1.{number + 1}"
        self._namespace = f"{_BRIDGE}{number}"
        super().__init__(home, client_key)
        link(self._namespace, self.host)

    @property
    def address(self) -> str:
        return f"root@{self.host}:{self.port}"

    def _command(self) -> tuple[list[str], dict[str, str]]:
        command, environ = super()._command()
        config = self.home / "sshd_config"
        config.write_text(config.read_text().replace("127.0.0.1", self.host))
        return ["ip", "netns", "exec", self._namespace, *command], environ


class LinkedRegistry(OciRegistry):
    """docker-registry in a namespace; with `upstream`, a mirror that pulls what it lacks from there."""

    def __init__(self, home: Path, host: str, namespace: str, upstream: LinkedRegistry | None = None) -> None:
        self.host, self.namespace, self._upstream = host, f"{_BRIDGE}{namespace}", upstream
        home.mkdir(parents=True)
        make_certificates(home, host)
        super().__init__(home)
        link(self.namespace, host)

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def _command(self) -> tuple[list[str], dict[str, str]]:
        command, environ = super()._command()
        text = self.config.read_text().replace("127.0.0.1", self.host).split("auth:")[0]
        if self._upstream is not None:
            text += f"proxy: {{remoteurl: '{self._upstream.url}'}}\n"
            environ = {**environ, "SSL_CERT_FILE": str(self._upstream.ca)}
        self.config.write_text(text)
        return ["ip", "netns", "exec", self.namespace, *command], environ

    def _await_service(self) -> None:
        """It listens, which is enough where no password is asked for."""


@contextlib.contextmanager
def network() -> Iterator[None]:
    """The bridge that all are on; in the end nothing of it is left."""
    _clean()
    try:
        run("ip", "link", "add", _BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{HERE}/16", "dev", _BRIDGE)
        run("ip", "link", "set", _BRIDGE, "up")
        yield
    finally:
        _clean()


def link(namespace: str, host: str) -> None:
    """Make a namespace on the bridge with one address."""
    outer = f"v{namespace}"
    run("ip", "netns", "add", namespace)
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    run("ip", "link", "set", outer, "master", _BRIDGE)
    run("ip", "link", "set", outer, "up")
    run("ip", "netns", "exec", namespace, "ip", "address", "add", f"{host}/16", "dev", "eth0")
    for device in ("lo", "eth0"):
        run("ip", "netns", "exec", namespace, "ip", "link", "set", device, "up")


def shape(namespace: str, megabits: int) -> None:
    """Limit what a namespace sends."""
    rate = ("rate", f"{megabits}mbit", "burst", "256kb", "latency", "100ms")
    run("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *rate)


def sent_bytes(namespace: str) -> int:
    """How much went over the shaped link so far."""
    said = run("ip", "netns", "exec", namespace, "tc", "-s", "qdisc", "show", "dev", "eth0")
    found = re.search(r"Sent (\d+) bytes", said)
    return int(found[1]) if found else 0


def run(*command: str) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed; the message has its last words.
    """
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": SEARCHED})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _clean() -> None:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        name = line.split(" ")[0]
        if re.fullmatch(rf"{_BRIDGE}(\d{{1,3}}|r|m)", name):
            subprocess.run(["ip", "netns", "delete", name], check=False)
    subprocess.run(["ip", "link", "delete", _BRIDGE], check=False, stderr=subprocess.DEVNULL)
