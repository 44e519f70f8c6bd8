"""What the environment says to the edge worker alone: its node, and where nodes learn of each other."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from functions.settings import SettingsError


class Settings(Struct, frozen=True, rename=lambda name: f"BONGSU_{name.upper()}"):
    """Environment of the edge worker; field `node` is read from `BONGSU_NODE`, and so on."""

    node: str = ""
    """Name of this edge node, as cameras.yaml has it. Without one, all cameras are read."""
    region: str = ""
    """Where this node stands, in the words of a camera's `place.region`. Needed only where no camera is its own."""
    lease_url: str = ""
    """Kubernetes' API server, where nodes learn of each other. Without it a camera is read by its own node or none."""
    lease_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with the `token`, the `namespace` and the `ca.crt` to go there with."""
    lease_s: int = 25
    """A node that has said nothing for so many seconds is away."""


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("BONGSU_") and value}
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        raise SettingsError(f"{name}: got {given.get(name)!r}: {error}") from None
    if not 2 <= settings.lease_s <= 50:
        # A camera is to be read again within 60 s: a beat more to find the lease run out, and the camera's opening.
        raise SettingsError(f"BONGSU_LEASE_S must be from 2 to 50 seconds, got {settings.lease_s}")
    if settings.lease_url and not settings.node:
        raise SettingsError("BONGSU_NODE is empty: BONGSU_LEASE_URL shares cameras among nodes, so each needs its name")
    if settings.lease_url and not settings.lease_url.startswith(("https://", "http://")):
        raise SettingsError(f"BONGSU_LEASE_URL must start with https://, got {settings.lease_url!r}")
    return settings
