"""The channels on which an alert can be posted: one module for each, and the protocol that all implement.

A channel is one class in `notify/channels/NAME.py`, or in another package that names it in the entry-point group
`bongsu.channels`. It is imported only if `BONGSU_CHANNELS` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from functions import catalogue
from functions.event import Caption, Hazard, Place
from functions.settings import Environment

if TYPE_CHECKING:
    import aiohttp

    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident


class ChannelError(Exception):
    """The post certainly did not go out; the message has the reason, without secrets."""

    def __init__(self, reason: str, *, after_s: float = 30.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class UnknownOutcomeError(ChannelError):
    """It is unknown whether the post went out: the answer was truncated, late, or a server error."""


class ChannelContext:
    """Shared resources for opening channels."""

    def __init__(
        self,
        languages: Sequence[str],
        session: aiohttp.ClientSession | None = None,
        *,
        written: Sequence[str] = catalogue.OWN,
    ) -> None:
        self.languages = tuple(languages)
        """The languages of posts, in order."""
        self.written = tuple(written)
        """All languages that captions are in."""
        self._session = session

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client that all channels share: no cookies, 10 s for a request; it is closed for you.

        Raises:
            ImportError: aiohttp is not installed (the extra `post`).
        """
        if self._session is None:
            # Imported here: the feed needs no HTTP client, which would double the cold start.
            import aiohttp

            from notify.posting.http import TIMEOUT

            # No cookies: channels share the client, and must not share cookies.
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close the client, if there is one."""
        if self._session is not None:
            await self._session.close()


class Channel(Protocol):
    """One place where alerts are posted."""

    @property
    def name(self) -> str:
        """Short and lower case. Stable identifier: primary key of this channel's posts."""

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """The caption, shortened to the channel's limits; a language that it leaves out is empty."""

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Publish an alert, and return the channel's id for the post.

        Args:
            incident: the incident to post.
            text: the text from `fit`; the same at every attempt for an alert.
            snapshot: the mosaicked picture; None if it was withheld. If only its upload fails, post the text alone.
            key: the same at every attempt for an alert: after a crash it is unknown whether the first attempt went out.
                Use it as the idempotency key if the server supports one; otherwise the channel must recognize its post.
            location: the drawn map of the place; the second picture, or the only one.

        Raises:
            ChannelError: it did not go out; it will be retried.
            UnknownOutcomeError: it may have gone out; it will be retried with the same text and key.
        """


@runtime_checkable
class SelectiveChannel(Protocol):
    """What a channel has too that is not for every alert."""

    def wants(self, hazard: Hazard, place: Place) -> bool:
        """Whether an alert of that class at that place is to be posted here. For one incident it never changes."""


@runtime_checkable
class PreparedChannel(Protocol):
    """What a channel has too that must know its server's limits before it can fit a text."""

    async def prepare(self) -> None:
        """Ask the server, if it is time to; called before `fit`. It raises nothing: without an answer it goes on."""


@runtime_checkable
class ChannelFamily(Protocol):
    """What the class of a channel has too that stands for several, each with a name of its own."""

    def open_all(self, settings: Any, context: ChannelContext) -> Sequence[Channel]:
        """Open all of them; in place of calling the class.

        Raises:
            SettingsError: a setting cannot be used.
        """


class ChannelClass(Protocol):
    """What a channel's class must provide."""

    name: ClassVar[str]
    """The name in `BONGSU_CHANNELS`; for a built-in channel also the name of its module."""
    Settings: ClassVar[type[Environment]]
    """The channel's settings from the environment; secrets are of type `Secret`."""
    sends: ClassVar[bool]
    """Whether posts leave this system. In a dry run such a channel is replaced, and opened without secrets."""

    def __call__(self, settings: Any, context: ChannelContext) -> Channel:
        """Open the channel, without waiting for a server.

        Raises:
            SettingsError: a setting is invalid.
        """
