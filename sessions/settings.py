"""The settings of the receive server and of a machine's agent, from the environment."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from functions.settings import Environment, read, split
from sessions.catalogue import KINDS

_SOCKET_PATH_MAX = 100
"""Linux allows 107 bytes, others 103."""


class Settings(Environment, frozen=True):
    """The settings of the receive server and the agent of sessions."""

    sessions_cluster: Literal["machine", "kubernetes"] = "machine"
    """The backend for workers and records: this machine's agent, or a cluster by KUBECONFIG or service account."""
    sessions_class_label: str = "bongsu/class"
    """The label of Kubernetes nodes with their hardware class."""
    sessions_state: str = "state/sessions"
    """Folder of the agent's socket, the logs of workers and the secret for tokens."""
    sessions_host: str = "127.0.0.1"
    """Address that the receive server listens on; `0.0.0.0` is all."""
    sessions_port: int = 8090
    """Port that the receive server listens on."""
    sessions_url: str = ""
    """Address at which clients reach the receive server, such as `https://edge.example.org`."""
    sessions_where: Literal["edge", "data-centre"] = "edge"
    """Where sessions run, as reported to clients."""
    sessions_name: str = ""
    """Name of this receive server when sessions are passed on; the host's name if empty."""
    sessions_ask: Literal["key", "open"] = "key"
    """Who may request a session: only clients with a key, or anybody."""
    sessions_warm: str = "scalar=1,object=1"
    """Number of idle workers to keep ready, by kind."""
    sessions_cores: float = 0.0
    """Cores for workers; 0: all of this machine."""
    sessions_memory_mb: float = 0.0
    """Memory for workers; 0: half of the machine's."""
    sessions_classes: str = ""
    """Hardware classes that this machine has, such as `xavier`, separated by commas."""
    sessions_gpu: bool = False
    """Whether this machine has a GPU that workers may use."""
    sessions_wait_s: float = 5.0
    """How long a POST may wait for a starting worker."""
    sessions_idle_s: float = 60.0
    """A session without a message for this long ends."""
    sessions_line_s: float = 120.0
    """A client that has not asked for its place in line for this long loses it."""
    sessions_ttl_max_s: float = 3600.0
    """The longest time from the request or an extension of a session to its end."""
    sessions_per_client: int = 2
    """The most sessions of one client at a time."""
    sessions_per_owner: int = 20
    """The most sessions of all clients of one key at a time."""
    sessions_line_max: int = 1000
    """The most waiting sessions."""
    sessions_upstream: str = ""
    """Receive servers for sessions that do not fit here, in order, comma-separated: `https://dc.example.org`."""
    sessions_upstream_key: str = ""
    """File with the key for them."""
    sessions_hops: int = 2
    """The most times that a request may be passed on."""
    sessions_legacy_ports: str = ""
    """Ports for clients of k8s-rcv-ml, such as `scalar=32220,image=30030,object=30040`; they need no key."""
    api_keys: str = ""
    """Key file, as for the map API."""
    rate_limit: float = 1200.0
    """Requests a minute from one address or key, as for the map API."""
    trusted_proxies: str = ""
    """Addresses or networks of our own proxies, as for the map API."""
    cors_origins: str = ""
    """Sites whose pages may use the receive server, as for the map API."""

    def __post_init__(self) -> None:
        for name in ("sessions_wait_s", "sessions_idle_s", "sessions_line_s", "sessions_ttl_max_s"):
            if not 0 < getattr(self, name) < 1e6:
                raise ValueError(f"BONGSU_{name.upper()} must be seconds above 0, got {getattr(self, name)}")
        for name in ("sessions_per_client", "sessions_per_owner", "sessions_line_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"BONGSU_{name.upper()} must be 1 or more, got {getattr(self, name)}")
        if self.sessions_ask == "key" and not self.api_keys:
            raise ValueError(
                "BONGSU_SESSIONS_ASK is 'key', so BONGSU_API_KEYS must name a key file, got ''; "
                "on a machine that only you reach, BONGSU_SESSIONS_ASK=open needs none"
            )
        if not 0 <= self.sessions_port <= 65_535:
            raise ValueError(f"BONGSU_SESSIONS_PORT must be 0 to 65535, got {self.sessions_port}")
        if self.sessions_url and not self.sessions_url.startswith(("http://", "https://")):
            raise ValueError(f"BONGSU_SESSIONS_URL must start with http:// or https://, got {self.sessions_url!r}")
        for upstream in split(self.sessions_upstream):
            if not upstream.startswith(("http://", "https://")):
                raise ValueError(f"BONGSU_SESSIONS_UPSTREAM must be like https://dc.example.org, got {upstream!r}")
        for proxy in split(self.trusted_proxies):
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(f"BONGSU_TRUSTED_PROXIES must be like 10.0.0.0/8, got {proxy!r}") from None
        counts("BONGSU_SESSIONS_WARM", self.sessions_warm)
        counts("BONGSU_SESSIONS_LEGACY_PORTS", self.sessions_legacy_ports)
        if len(str(self.socket).encode()) > _SOCKET_PATH_MAX:
            raise ValueError(
                f"BONGSU_SESSIONS_STATE: the path of a socket has {_SOCKET_PATH_MAX} bytes at most, and {self.socket} "
                "is longer: choose a folder nearer to the root"
            )

    @property
    def socket(self) -> Path:
        """Path of the socket of this machine's agent."""
        return Path(self.sessions_state).absolute() / "agent.sock"

    @property
    def name(self) -> str:
        """Name of this receive server."""
        return self.sessions_name or os.uname().nodename


def counts(variable: str, text: str) -> dict[str, int]:
    """The numbers of `kind=number,…`.

    Raises:
        ValueError: it is not such a list.
    """
    found = {}
    for part in split(text):
        kind, _, number = part.partition("=")
        if kind not in KINDS or not number.isdecimal():
            raise ValueError(f"{variable} must be like object=1,scalar=2 of the kinds {', '.join(KINDS)}, got {part!r}")
        found[kind] = int(number)
    return found


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)
