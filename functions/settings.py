"""What the environment says to every worker: broker, logs, metrics, grace period."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

# msgspec, not pydantic: this is imported by every function, and none should pay for importing pydantic when it wakes.


class SettingsError(ValueError):
    """A variable of the environment cannot be used; the message names it, its value and the fix."""


class Settings(Struct, frozen=True, rename=lambda name: f"BONGSU_{name.upper()}"):
    """Environment of one worker; field `broker_url` is read from `BONGSU_BROKER_URL`, and so on."""

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
    """Read the settings from the environment.

    Raises:
        SettingsError: a value has the wrong type.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("BONGSU_") and value}
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        raise SettingsError(f"{name}: got {given.get(name)!r}: {error}") from None
