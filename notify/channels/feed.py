"""The built-in channel: what is posted there stands on the page and in the feeds of the map API."""

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
    """The feed has none."""


class Feed:
    """Its post is the row that the store keeps, so there is nothing to send."""

    name: ClassVar[str] = "feed"
    Settings: ClassVar[type[Environment]] = FeedSettings
    sends: ClassVar[bool] = False
    limit = 600

    def __init__(self, settings: FeedSettings | None = None, context: ChannelContext | None = None) -> None:
        """Nothing to open."""

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Each language cut for itself."""
        return Caption(en=fit(caption.en, self.limit), ko=fit(caption.ko, self.limit))

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Nothing to do: what is confirmed is posted."""
        return key
