"""The names of all topics, and of cameras within them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from functions.event import Hazard

_REFUSED = re.compile(r"[^A-Za-z0-9_-]+")
_LENGTH = 48


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one installation."""

    prefix: str
    discovery: str
    """Home Assistant's discovery prefix; empty for none."""

    @property
    def status(self) -> str:
        """`online`, or `offline`, which the server says for the bridge if that dies (its last will)."""
        return f"{self.prefix}/status"

    @property
    def sync(self) -> str:
        """Where the bridge hears itself once it has heard all that the server had retained."""
        return f"{self.prefix}/sync"

    @property
    def cameras(self) -> str:
        """Where the topics of cameras begin."""
        return f"{self.prefix}/cameras/"

    @property
    def node(self) -> str:
        """The name of this installation in Home Assistant."""
        return slug(self.prefix)

    @property
    def configs(self) -> str:
        """Where this installation's discovery begins; empty for none."""
        return f"{self.discovery}/device/{self.node}/" if self.discovery else ""

    def config(self, camera: str) -> str:
        """The discovery of one camera, as a device with all of its entities."""
        return f"{self.configs}{slug(camera)}/config"

    def stream(self, camera: str) -> str:
        """`live`, `lost` or `frozen`."""
        return f"{self.cameras}{slug(camera)}/status"

    def hazard(self, camera: str, hazard: Hazard) -> str:
        """`ON` while an incident of that class is open at the camera, else `OFF`."""
        return f"{self.cameras}{slug(camera)}/{hazard}"

    def snapshot(self, camera: str) -> str:
        """The mosaicked picture of the camera's newest incident, as JPEG."""
        return f"{self.cameras}{slug(camera)}/snapshot"


def attributes(topic: str) -> str:
    """Where a topic's attributes are, as JSON."""
    return f"{topic}/attributes"


def slug(name: str) -> str:
    """A name as one level of a topic and as an id in Home Assistant: letters, digits, `_` and `-`.

    A name that holds anything else gets a digest at its end, so that no two cameras share a topic.
    """
    if not _REFUSED.search(name) and len(name) <= _LENGTH:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{_REFUSED.sub('-', name).strip('-')[:_LENGTH]}-{digest}".lstrip("-")
