"""The built-in channel: its posts are shown on the page and in the feeds of the map API."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from functions.event import Caption
from functions.settings import Environment
from notify.captions.words import fit
from notify.channels import ChannelContext

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident


class FeedSettings(Environment, frozen=True):
    """The feed has no settings."""


class Feed:
    """A post is a row in the store, so nothing has to be sent."""

    name: ClassVar[str] = "feed"
    Settings: ClassVar[type[Environment]] = FeedSettings
    sends: ClassVar[bool] = False
    limit = 600

    def __init__(self, settings: FeedSettings | None = None, context: ChannelContext | None = None) -> None:
        """Does nothing."""

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Shorten each language separately."""
        return Caption.of({language: fit(text, self.limit) for language, text in caption.texts.items()})

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Does nothing: the poster confirms the post in the store."""
        return key
