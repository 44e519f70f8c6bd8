"""The edge worker's own settings, from the environment: its node, how nodes know each other, and clips."""

from __future__ import annotations

from pathlib import Path

from functions.clip import KEYS_MAX
from functions.sealing import PRIVATE, PUBLIC, read_key
from functions.settings import Environment, Secret, SettingsError, read, split
from motion.clip import ClipLimits


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


class ClipSettings(Environment, frozen=True):
    """Clips of a node's cameras, recorded only if a folder is named (docs/clips.md)."""

    clip_dir: str = ""
    """Folder for sealed clips that no hazard was confirmed for yet; without it no clips are recorded."""
    clip_key: str = ""
    """Public key that clips are sealed for, as `bongsu originals keygen` prints it; several, separated by commas."""
    clip_before_s: float = 5.0
    """Seconds that a clip shows before its burst."""
    clip_after_s: float = 5.0
    """Seconds that a clip shows after its last burst."""
    clip_longest_s: float = 60.0
    """A clip ends after this many seconds, even while motion goes on; the next one follows it."""
    clip_mb: float = 16.0
    """A clip ends at this size (10^6 bytes)."""
    clip_camera_mb: float = 500.0
    """The most that the folder keeps of one camera (10^6 bytes); beyond that its oldest clips are deleted."""
    clip_dir_hours: float = 24.0
    """Hours after which a clip in the folder is deleted."""
    clip_api: str = ""
    """Address of the map API that is sent the clips of incidents; without it they stay in the folder."""
    clip_api_key: Secret = Secret("")
    """Key for the map API with the role `node`."""

    def __post_init__(self) -> None:
        ranges = {
            "BEFORE_S": (self.clip_before_s, 0, 60), "AFTER_S": (self.clip_after_s, 0, 60),
            "LONGEST_S": (self.clip_longest_s, 5, 600), "MB": (self.clip_mb, 1, 60),
            "CAMERA_MB": (self.clip_camera_mb, 1, 1e6), "DIR_HOURS": (self.clip_dir_hours, 0.01, 744),
        }  # fmt: skip
        for name, (value, least, most) in ranges.items():
            if not least <= value <= most:
                raise ValueError(f"BONGSU_CLIP_{name} must be from {least:g} to {most:g}, got {value:g}")
        if not self.clip_dir:
            return
        if PRIVATE in self.clip_key:
            raise ValueError("BONGSU_CLIP_KEY is a private key: set the public one, and keep this off every node")
        try:
            keys = self.public_keys
        except SettingsError as error:
            raise ValueError(f"BONGSU_CLIP_KEY: {error}") from None
        if len(keys) > KEYS_MAX:
            raise ValueError(f"BONGSU_CLIP_KEY must have at most {KEYS_MAX} keys, got {len(keys)}")
        if self.clip_api and not self.clip_api.startswith(("http://", "https://")):
            raise ValueError(f"BONGSU_CLIP_API must start with http:// or https://, got {self.clip_api!r}")
        if bool(self.clip_api) != bool(self.clip_api_key):
            missing = "_KEY" if self.clip_api else ""
            raise ValueError(f"BONGSU_CLIP_API{missing} is missing: set both, or neither")

    @property
    def limits(self) -> ClipLimits:
        """Of each clip."""
        return ClipLimits(self.clip_before_s, self.clip_after_s, self.clip_longest_s, int(self.clip_mb * 1e6))

    @property
    def public_keys(self) -> tuple[bytes, ...]:
        """The keys that clips are sealed for."""
        return tuple(read_key(text, PUBLIC) for text in split(self.clip_key) or ("",))


def load_clips() -> ClipSettings | None:
    """Read the settings of clips; None if no folder is named.

    Raises:
        SettingsError: a value is invalid.
    """
    settings = read(ClipSettings)
    return settings if settings.clip_dir else None


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)
