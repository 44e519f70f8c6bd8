"""What the environment says to every worker: broker, logs, metrics, grace period."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec
from msgspec import Struct

# msgspec, not pydantic: this is imported by every function, and none should pay for importing pydantic when it wakes.


class SettingsError(ValueError):
    """A variable of the environment cannot be used; the message names it, its value and the fix."""


class Environment(Struct, frozen=True, rename=lambda name: f"BONGSU_{name.upper()}"):
    """Part of the environment, as a class: its field `broker_url` is read from `BONGSU_BROKER_URL`, and so on.

    What `__post_init__` refuses with a ValueError names its variable, its value and the fix.
    """


_E = TypeVar("_E", bound=Environment)


class Settings(Environment, frozen=True):
    """What every worker reads."""

    broker_url: str = "sqlite:///state/broker.db"
    grace_s: float = 25.0
    """How long a worker may take to finish what it has in hand after SIGTERM."""
    buffer_dir: str = ""
    """Folder that keeps what cannot be published while the broker is away; nothing is kept without it."""
    buffer_mb: float = 256.0
    """Size of that folder at most: the oldest gives way."""
    buffer_age_s: float = 3600.0
    """What is kept for longer is dropped."""
    motion_replicated: bool = False
    """On a cluster of RabbitMQ: keep bursts on a majority of its nodes, so that detection outlives the loss of one."""
    metrics_port: int | None = None
    """Port of `/metrics` and `/healthz`; none are served without it."""
    log_format: str = "json"
    log_level: str = "info"


def load() -> Settings:
    """Read what every worker reads.

    Raises:
        SettingsError: a value has the wrong type.
    """
    return read(Settings)


def read(kind: type[_E]) -> _E:
    """Read a part of the environment; a variable that is empty counts as not given.

    Raises:
        SettingsError: a value cannot be used.
    """
    given = {name: value for name in kind.__struct_encode_fields__ if (value := os.environ.get(name))}
    try:
        return msgspec.convert(given, kind, strict=False, dec_hook=lambda wanted, value: wanted(value))
    except msgspec.ValidationError as error:
        # msgspec ends with `$.NAME` what it refuses itself; what __post_init__ refuses names the variable already.
        name = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else ""
        raise SettingsError(f"{name}: got {given.get(name)!r}: {error}" if name else str(error)) from None
