"""What the environment says to every worker: broker, logs, metrics, grace period."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec
from msgspec import Struct

from functions.topology import MOTION, burst_queue, read_regions

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
    regions: str = ""
    """Regions with a motion queue and a detector of their own, as in "Seoul,Incheon"; needs RabbitMQ."""
    region: str = ""
    """Where this worker stands, in the words of a camera's `place.region`."""
    metrics_port: int | None = None
    """Port of `/metrics` and `/healthz`; none are served without it."""
    log_format: str = "json"
    log_level: str = "info"

    @property
    def region_names(self) -> tuple[str, ...]:
        """The listed regions, as their queues spell them.

        Raises:
            SettingsError: one cannot name a queue, or the broker is not RabbitMQ.
        """
        try:
            regions = read_regions(self.regions)
        except ValueError as error:
            raise SettingsError(f"BONGSU_REGIONS: {error}") from None
        scheme = self.broker_url.partition(":")[0]
        if regions and scheme not in ("amqp", "amqps"):
            # Only the scheme is shown: the rest may hold a password.
            raise SettingsError(f"BONGSU_REGIONS needs RabbitMQ (BONGSU_BROKER_URL=amqp://…), and this is {scheme}://…")
        return regions

    @property
    def burst_queue(self) -> str:
        """Where a detector here takes its bursts from: its region's queue, or the shared one if it has no region.

        Raises:
            SettingsError: its region is not listed, so it would wait for bursts that go elsewhere.
        """
        found = burst_queue(self.region, self.region_names)
        if self.region and found == MOTION:
            listed = ", ".join(self.region_names) or "empty"
            raise SettingsError(f"BONGSU_REGION: {self.region!r} is not in BONGSU_REGIONS ({listed}): list it there")
        return found


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
