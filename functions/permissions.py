"""What each service may do on RabbitMQ, derived from its queues and the events it publishes (`make generate`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from functions.hook import RESULTS, Hook
from functions.topology import DEAD, DELAYS_S, EXCHANGE, MOTION, REQUEUE, retry_name

TOPOLOGY, OPERATOR, KEDA, EDGE, API = "topology", "operator", "keda", "motion", "api"
"""The users that are not functions: for declarations, dead letters, counts, cameras and the API."""
_RESERVED = (TOPOLOGY, OPERATOR, KEDA, EDGE, API, "guest", "administrator")
_VHOST = "/"
_NOTHING, _EVERYTHING = "^$", ".*"
_TAGS = {KEDA: ["management"]}
"""`management` is the lowest tag that may read a queue's counts from the HTTP API."""


@dataclass(frozen=True, slots=True)
class Service:
    """A function, or motion, as a broker user."""

    user: str
    queues: tuple[str, ...] = ()
    """Queues that it consumes; `motion` stands for the regions' queues too."""
    publishes: tuple[str, ...] = ()
    """Event types that it publishes; `motion` stands for the regions' routing keys too."""


EDGE_SERVICE = Service(EDGE, publishes=(MOTION, "camera"))


def api_service(hooks: Iterable[Hook]) -> Service:
    """The API as a broker user: it publishes reviews, alerts that were released, and requests of hooks, whose
    answers it reads. It cannot forge an alert: only the captioner signs them.
    """
    types = tuple(hook.type for hook in hooks)
    return Service(API, (RESULTS,) if types else (), ("captioned", "reviewed", *types))


def definitions(functions: Iterable[Service], hooks: Iterable[Hook] = ()) -> dict[str, list[dict[str, Any]]]:
    """RabbitMQ's definitions of all users, with `<hash of USER-password>` where the password hash goes.

    Args:
        functions: the functions, in the order in which their users are listed.
        hooks: the addresses at which functions answer requests.

    Returns:
        `users`, `vhosts`, `permissions` and `topic_permissions`, as `load_definitions` reads them.

    Raises:
        ValueError: a function has the name of one of our other users.
    """
    services = [EDGE_SERVICE, api_service(hooks), *functions]
    for service in services[2:]:
        if service.user in _RESERVED:
            raise ValueError(
                f"a function cannot be called {service.user!r}: that broker user exists for another purpose. Rename it"
            )
    users = [*(s.user for s in services), TOPOLOGY, OPERATOR, KEDA]
    return {
        "users": [_user(name) for name in users],
        "vhosts": [{"name": _VHOST}],
        "permissions": [
            *(_permission(s) for s in services),
            _may(TOPOLOGY, configure=_EVERYTHING, write=_EVERYTHING, read=_EVERYTHING),
            # Replays: from the dead letters into the queue they died in. Deleting a queue needs the right to configure.
            _may(OPERATOR, write=_any_of([REQUEUE]), read=_any_of([DEAD])),
            # It counts by passive declarations and over HTTP, and neither needs a permission.
            _may(KEDA),
        ],
        "topic_permissions": [permission for s in services for permission in _topic_permissions(s)],
    }


def password_name(user: str) -> str:
    """The name of the user's password in `secrets/passwords.env`."""
    return KEDA if user == KEDA else f"broker_{user}"


def secret_name(user: str) -> str:
    """The Kubernetes Secret with the user's BONGSU_BROKER_URL."""
    return f"bongsu-broker-{user.replace('_', '-')}"


def _user(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": f"<hash of {password_name(name)}-password>",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": _TAGS.get(name, []),
    }


def _permission(service: Service) -> dict[str, str]:
    exchanges = [EXCHANGE] if service.publishes else []
    if service.queues:
        # Retries go through one exchange, requeued messages through another, dead letters through a third.
        exchanges += [DEAD, *_returning()]
    return _may(service.user, write=_any_of(exchanges), read=_any_of(service.queues))


def _topic_permissions(service: Service) -> list[dict[str, str]]:
    """Permitted routing keys: without an entry for an exchange, RabbitMQ allows all of them there."""
    allowed = {EXCHANGE: service.publishes, **dict.fromkeys(_returning(), service.queues)}
    return [
        {"user": service.user, "vhost": _VHOST, "exchange": exchange, "write": _any_of(keys), "read": _NOTHING}
        for exchange, keys in allowed.items()
    ]


def _returning() -> tuple[str, ...]:
    return (REQUEUE, *map(retry_name, DELAYS_S))


def _may(user: str, *, configure: str = _NOTHING, write: str = _NOTHING, read: str = _NOTHING) -> dict[str, str]:
    return {"user": user, "vhost": _VHOST, "configure": configure, "write": write, "read": read}


def _any_of(names: Iterable[str]) -> str:
    """A regular expression for RabbitMQ that matches exactly these names."""
    patterns = [r"motion(\.[a-z0-9-]+)?" if name == MOTION else re.escape(name).replace(r"\-", "-") for name in names]
    return f"^({'|'.join(patterns)})$" if patterns else _NOTHING
