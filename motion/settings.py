"""What the environment says to the edge worker alone: its node, and where nodes learn of each other."""

from __future__ import annotations

from pathlib import Path

from functions.settings import Environment, read


class Settings(Environment, frozen=True):
    """What the edge worker alone reads."""

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

    def __post_init__(self) -> None:
        if not 2 <= self.lease_s <= 50:
            # A camera is to be read again within 60 s: a beat more to find the lease run out, and the camera's opening.
            raise ValueError(f"BONGSU_LEASE_S must be from 2 to 50 seconds, got {self.lease_s}")
        if self.lease_url and not self.node:
            raise ValueError("BONGSU_NODE is empty: BONGSU_LEASE_URL shares cameras among nodes, each by its name")
        if self.lease_url and not self.lease_url.startswith(("https://", "http://")):
            raise ValueError(f"BONGSU_LEASE_URL must start with https://, got {self.lease_url!r}")


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return read(Settings)
