"""Where an alert can be posted: the protocol that every channel keeps, and the built-in feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from functions.event import Caption

if TYPE_CHECKING:
    from notify.map.records import Incident
    from notify.redact import Redacted


class ChannelError(Exception):
    """The post did not go out, for certain; the message says why."""

    def __init__(self, reason: str, *, after_s: float = 30.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Channel(Protocol):
    """One place where people read alerts."""

    @property
    def name(self) -> str:
        """Short, lower case, for ever the same: the database knows the channel's posts by it."""

    @property
    def limit(self) -> int:
        """Most characters in each language's text; what is longer is cut at a sentence or a word before `post`."""

    async def post(self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str) -> str:
        """Publish an alert, and return what the channel calls it.

        Args:
            incident: what is told of.
            text: what is said.
            snapshot: the mosaicked picture; None where it was withheld.
            key: the same for the same alert, however often it is tried: after a crash nobody knows whether the first
                attempt went out. A channel that takes idempotency keys gets it, another has to look for its own post.

        Raises:
            ChannelError: it did not go out; it is tried again later.
        """


class Feed:
    """The built-in channel. Its post is the row that the store keeps, so there is nothing to send."""

    name = "feed"
    limit = 600

    async def post(self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str) -> str:
        """Nothing to do: what is confirmed is posted."""
        return key
