"""`Ask`: a parsed request for a session, passed from the endpoints to the allocator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request for a session."""

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
    via: str = ""

    @property
    def digest(self) -> str:
        """A digest of the request; equal requests have equal digests."""
        facts = (self.kind, self.model, self.client, self.gpu, self.node_class, self.ttl_s, bool(self.home_base))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
