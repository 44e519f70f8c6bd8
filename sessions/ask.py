"""`Ask`: a request for a session, as the endpoints read it and the allocator takes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a session, after it was read."""

    owner: str
    kind: str
    model: str
    client: str
    ttl_s: float
    gpu: bool = False
    node_class: str = ""
    idempotency_key: str = ""
    legacy_address: str = ""
    home_base: str = ""

    @property
    def digest(self) -> str:
        """The same for the same request."""
        facts = (self.kind, self.model, self.client, self.gpu, self.node_class, self.ttl_s, bool(self.home_base))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
