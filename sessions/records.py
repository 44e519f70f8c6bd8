"""The cluster's records of sessions and workers, and its errors; every module of this room uses them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

WorkerState = Literal["starting", "ready", "ended", "failed", "leaving"]
"""`ended`: it finished after its client had left; `failed`: it crashed; `leaving`: it has to end, for example because
its node is drained, and first answers its requests."""


class Session(Struct, frozen=True, kw_only=True):
    """A client's session with a model. It is `waiting` until it has a worker or an upstream server has taken it.

    Attributes:
        id: unguessable, or derived from the caller and the Idempotency-Key.
        owner: the name of the caller's key, or an address.
        client: the client's own name; the quota counts it within its owner.
        request_digest: of the request, to detect a repeated key with another request.
        asked_at: when the client last asked for its place in line.
        bound_at: when it got its worker.
        worker: name of its worker, empty while it has none.
        restarts: how often it got another worker after a crash.
        upstream: address of the receive server that has taken it, empty if it is ours; `upstream_id`, `upstream_url`
            and `upstream_token` are its id, url and token there. The token stays valid after the session has come home.
        home_base: address of this receive server as its client reached it, if the session may come home from an
            upstream server; empty otherwise.
        via: names of the receive servers that passed it on to this one, separated by commas.
        order: counts sessions in the order in which the cluster recorded them.
        version: changes with every change; a change based on an older version is refused.
    """

    id: str
    kind: str
    model: str
    owner: str
    client: str
    created_at: datetime
    expires_at: datetime
    asked_at: datetime
    request_digest: str = ""
    gpu: bool = False
    node_class: str = ""
    bound_at: datetime | None = None
    worker: str = ""
    restarts: int = 0
    upstream: str = ""
    upstream_id: str = ""
    upstream_url: str = ""
    upstream_token: str = ""
    home_base: str = ""
    via: str = ""
    legacy_address: str = ""
    order: int = 0
    version: int = 0


class Worker(Struct, frozen=True, kw_only=True):
    """One process or pod with one model loaded, which serves at most one session in its life.

    Attributes:
        address: `unix:/path` or `tcp:host:port`, where it serves HTTP and WebSocket only to receive servers.
        session: the id of its session, empty in the warm pool.
        classes: hardware classes of its node.
        has_gpu: whether it has a GPU.
        version: as in `Session`.
    """

    name: str
    kind: str
    model: str
    node: str
    address: str
    started_at: datetime
    state: WorkerState = "starting"
    session: str = ""
    classes: tuple[str, ...] = ()
    has_gpu: bool = False
    version: int = 0


class Capacity(Struct, frozen=True, kw_only=True):
    """Total and used capacity of the machine or the namespace for workers.

    Attributes:
        classes: hardware classes of the nodes, best first.
        is_drained: whether no worker is started, because the machine is about to be stopped.
    """

    node: str
    cores: float
    memory_mb: float
    used_cores: float
    used_memory_mb: float
    classes: tuple[str, ...] = ()
    has_gpu: bool = False
    is_drained: bool = False

    def has_hardware(self, session: Session) -> bool:
        """Whether there is what a session needs, used or not."""
        if session.gpu and not self.has_gpu:
            return False
        return not session.node_class or session.node_class in self.classes


class BackendError(Exception):
    """The cluster does not answer now; safe to retry."""


class ExistsError(Exception):
    """A session with that id exists already."""


class ConflictError(Exception):
    """It has changed since it was read, or no longer exists: read it again and decide again."""


class NoRoomError(Exception):
    """There is no capacity for such a worker now."""
