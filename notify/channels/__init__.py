"""Where an alert can be posted: one module for each channel, and what every channel promises.

A channel is one class in `notify/channels/NAME.py`, or in another package that names it in the entry-point group
`bongsu.channels`. It is imported only where `BONGSU_CHANNELS` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from functions.event import Caption, Hazard, Place
from functions.settings import Environment

if TYPE_CHECKING:
    import aiohttp

    from notify.posting.text import Language
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


class ChannelContext:
    """What channels are opened with."""

    def __init__(self, languages: Sequence[Language], session: aiohttp.ClientSession | None = None) -> None:
        self.languages = tuple(languages)
        """What posts are said in, in the order they are said."""
        self._session = session

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client that all channels share: no cookies, 10 s for a request; it is closed for you.

        Raises:
            ImportError: aiohttp is not installed (the extra `post`).
        """
        if self._session is None:
            # Here, not above: the feed alone needs no HTTP client, which would double the cold start.
            import aiohttp

            from notify.posting.http import TIMEOUT

            # No cookies: nothing that one server sets is for another.
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Close the client, if there is one."""
        if self._session is not None:
            await self._session.close()


class Channel(Protocol):
    """One place where people read alerts."""

    @property
    def name(self) -> str:
        """Short and lower case. It never changes: the database keeps the channel's posts by it."""

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
    """The class of a channel, as it is found and opened."""

    name: ClassVar[str]
    """As in `BONGSU_CHANNELS`; of a built-in channel also the name of its module."""
    Settings: ClassVar[type[Environment]]
    """What the channel reads from the environment; its secrets are of type `Secret`."""
    sends: ClassVar[bool]
    """Whether a post leaves this system. One that does is replaced in a dry run, and then opened without secrets."""

    def __call__(self, settings: Any, context: ChannelContext) -> Channel:
        """Open it; it must not wait for a server.

        Raises:
            SettingsError: a setting cannot be used.
        """
