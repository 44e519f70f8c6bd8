"""Where an alert can be posted: the protocol that every channel keeps, and the built-in feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from functions.event import Caption
from notify.captions.words import fit

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident


class ChannelError(Exception):
    """The post did not go out, for certain; the message says why, and holds no secret."""

    def __init__(self, reason: str, *, after_s: float = 30.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class UnknownOutcomeError(ChannelError):
    """Nobody knows whether it went out: the answer was cut off, late, or a server's failure."""


class Channel(Protocol):
    """One place where people read alerts."""

    @property
    def name(self) -> str:
        """Short, lower case, for ever the same: the database knows the channel's posts by it."""

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """What the channel would say of a caption: cut to its limits; a language that it leaves out is empty."""

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Publish an alert, and return what the channel calls it.

        Args:
            incident: what is told of.
            text: what is said, as `fit` made it; on every attempt for the same alert the same.
            snapshot: the mosaicked picture; None where it was withheld. If it alone fails, the words go out without it.
            key: the same for the same alert, however often it is tried: after a crash nobody knows whether the first
                attempt went out. A channel that takes idempotency keys gets it, another has to know its own post again.
            location: the drawn map of the place; the second picture, or the only one.

        Raises:
            ChannelError: it did not go out; it is tried again later.
            UnknownOutcomeError: it may have gone out; the same text and key are tried again later.
        """


class Feed:
    """The built-in channel. Its post is the row that the store keeps, so there is nothing to send."""

    name = "feed"
    limit = 600

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Each language cut for itself."""
        return Caption(en=fit(caption.en, self.limit), ko=fit(caption.ko, self.limit))

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Nothing to do: what is confirmed is posted."""
        return key
