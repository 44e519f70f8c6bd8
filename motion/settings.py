"""The edge worker's own settings, from the environment: its node, and how nodes know each other."""

from __future__ import annotations

from pathlib import Path

from functions.settings import Environment, read


class Settings(Environment, frozen=True):
    """Settings that only the edge worker reads."""

    node: str = ""
    """Name of this edge node, as in cameras.yaml. Without one, all cameras are read."""
    region: str = ""
    """This node's region, spelled as a camera's `place.region`. Needed only if no camera has this node as its own."""
    lease_url: str = ""
    """Kubernetes' API server, through which nodes know each other. Without it only a camera's own node reads it."""
    lease_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with the `token`, the `namespace` and the `ca.crt` for that server."""
    lease_s: int = 25
    """A node that has not renewed its lease for this many seconds counts as down."""

    def __post_init__(self) -> None:
        if not 2 <= self.lease_s <= 50:
            # A camera must be read again within 60 s, which includes one more look at the lease and opening the camera.
            raise ValueError(f"BONGSU_LEASE_S must be from 2 to 50 seconds, got {self.lease_s}")
        if self.lease_url and not self.node:
            raise ValueError("BONGSU_NODE is empty: BONGSU_LEASE_URL shares cameras among nodes, each by its name")
        if self.lease_url and not self.lease_url.startswith(("https://", "http://")):
            raise ValueError(f"BONGSU_LEASE_URL must start with https://, got {self.lease_url!r}")


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)
