"""What the environment says to the function that warns by Web Push."""

from __future__ import annotations

import re

from functions.settings import Environment, Secret, split

_CONTACT = re.compile(r"(mailto:[^\s@<>,]+@[^\s@<>,]+|https://[^\s<>,]+)")


class PushSettings(Environment, frozen=True):
    """What `notify.push` reads."""

    push_key: Secret = Secret("")
    """Private key that warnings are signed with, of `bongsu key push`; without it nobody is warned by Web Push."""
    push_contact: str = ""
    """Whom push services may write to about this sender: `mailto:…` or `https://…`; needed with a key."""
    push_max_age_s: float = 600.0
    """What was captured longer ago warns nobody any more; 0 warns whatever its age."""
    push_update_s: float = 60.0
    """Shortest time between two changes of one warning on a device."""
    push_concurrency: int = 64
    """Requests to push services at once, in one replica."""
    push_failures: int = 10
    """After so many failures in a row, over `BONGSU_PUSH_FAILING_DAYS`, a subscription is deleted."""
    push_failing_days: float = 3.0
    """For at least so long a subscription must have failed before it is deleted."""
    push_allow: str = ""
    """Push services without https or at private addresses, as `host` or `host:port`, separated by commas; for tests."""

    @property
    def allowed(self) -> frozenset[str]:
        """Hosts that may be reached by any scheme and at any address."""
        return frozenset(split(self.push_allow))

    def __post_init__(self) -> None:
        given = self.push_contact
        if self.push_key and not _CONTACT.fullmatch(given):
            raise ValueError(f"BONGSU_PUSH_CONTACT must be mailto:you@city.example or https://…, got {given!r}")
        if not 1 <= self.push_concurrency <= 1000:
            raise ValueError(f"BONGSU_PUSH_CONCURRENCY must be 1 to 1000, got {self.push_concurrency}")
        if self.push_failures < 1 or self.push_failing_days < 0:
            given = f"{self.push_failures} and {self.push_failing_days}"
            raise ValueError(
                f"BONGSU_PUSH_FAILURES must be 1 or more and BONGSU_PUSH_FAILING_DAYS 0 or more, got {given}"
            )
        for name, value in (("MAX_AGE", self.push_max_age_s), ("UPDATE", self.push_update_s)):
            if value < 0:
                raise ValueError(f"BONGSU_PUSH_{name}_S must be 0 or more, got {value}")
