"""What the cluster keeps of sessions and workers, and what it may refuse; every module of this room uses them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

WorkerState = Literal["starting", "ready", "ended", "failed", "leaving"]
"""`ended`: it finished by itself after its client had gone; `failed`: it crashed; `leaving`: it has to end, for example
because its node is drained, and first answers what it has."""


class Session(Struct, frozen=True, kw_only=True):
    """One client's claim to a model. It is `waiting` until it has a worker or an upstream server has taken it.

    Attributes:
        id: unguessable, or derived from the caller and the Idempotency-Key.
        owner: who asked: the name of a key, or an address.
        client: the name that the client gave itself; quota counts it within its owner.
        request_digest: of the request, so that a repeated key with another request is noticed.
        asked_at: when the client last asked after a place in line.
        bound_at: when it got its worker.
        worker: name of its worker, empty while it has none.
        restarts: how often it got another worker because one crashed.
        upstream: address of the receive server that has taken it, empty where it is ours; `upstream_id`, `upstream_url`
            and `upstream_token` are what that server calls it. The token stays valid after the session has come home.
        home_base: address of this receive server as its client reached it, if the session may come home from an
            upstream server; empty otherwise.
        order: counts sessions in the order in which the cluster recorded them.
        version: changes with every change; a change that was decided on an older version is refused.
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
    legacy_address: str = ""
    order: int = 0
    version: int = 0


class Worker(Struct, frozen=True, kw_only=True):
    """One process or pod with one model loaded, for one session at most in its life.

    Attributes:
        address: `unix:/path` or `tcp:host:port`, where it speaks HTTP and WebSocket to receive servers alone.
        session: whose it is, empty in the warm pool.
        classes: hardware classes of its node.
        has_gpu: whether it was given a GPU.
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
    """What the machine or the namespace has for workers, and what of it is taken.

    Attributes:
        classes: hardware classes of the nodes, best first.
    """

    node: str
    cores: float
    memory_mb: float
    used_cores: float
    used_memory_mb: float
    classes: tuple[str, ...] = ()
    has_gpu: bool = False


class BackendError(Exception):
    """The cluster cannot be asked now; safe to retry."""


class ExistsError(Exception):
    """There is a session of that id already."""


class ConflictError(Exception):
    """It was changed by somebody else since it was read, or is gone: read it again and decide anew."""


class NoRoomError(Exception):
    """No capacity is left for such a worker now."""
