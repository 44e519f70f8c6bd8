"""Opens the channels that the settings name; the poster calls it once per replica."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from functions.event import Caption
from functions.settings import SettingsError
from notify.channels import Channel, Feed
from notify.channels import settings as environment

if TYPE_CHECKING:
    import aiohttp

    from notify.channels.settings import Settings
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

log = structlog.get_logger()


class DryRun:
    """Stands for a channel: writes what it would post into the log, and sends nothing."""

    def __init__(self, name: str, fit: Callable[[Caption, int], Caption]) -> None:
        self.name = name
        self.fit = fit

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Log it."""
        log.info(
            "post_held_back", channel=self.name, incident=incident.id, en=text.en, ko=text.ko,
            picture_bytes=None if snapshot is None else len(snapshot.jpeg),
            map_bytes=None if location is None else len(location.jpeg),
        )  # fmt: skip
        return f"dry-run:{key}"


@contextlib.asynccontextmanager
async def open_channels(settings: Settings) -> AsyncIterator[Sequence[Channel]]:
    """The channels that are on.

    Raises:
        SettingsError: a credential is missing or cannot be used, or a package is.
    """
    elsewhere = [name for name in settings.names if name != "feed"]
    if not elsewhere:
        # The feed alone needs no HTTP client, which would double the cold start.
        yield [Feed()]
        return
    try:
        import aiohttp

        from notify.channels.http import TIMEOUT
    except ImportError as error:
        raise SettingsError(f"BONGSU_CHANNELS={settings.channels}: {error}: pip install 'bongsu[post]'") from None
    # No cookies: nothing that one server sets is for another.
    async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
        channels = [_open(name, settings, session) for name in settings.names]
        if settings.post_dry_run:
            channels = [c if c.name == "feed" else DryRun(c.name, c.fit) for c in channels]
        yield channels


def _open(name: str, settings: Settings, session: aiohttp.ClientSession) -> Channel:
    if name == "x":
        try:
            from notify.channels.x import X
        except ImportError as error:
            raise SettingsError(f"channel x: {error}: pip install 'bongsu[post]'") from None

        keys = environment.XKeys("", "", "", "") if settings.post_dry_run else environment.x_keys()
        return X(session, keys, settings.languages, settings.x_api_url)
    if name == "mastodon":
        from notify.channels.mastodon import Mastodon

        endpoint = environment.Endpoint("", "") if settings.post_dry_run else environment.mastodon_endpoint()
        limit, visibility = settings.mastodon_limit, settings.mastodon_visibility
        return Mastodon(session, endpoint, settings.languages, limit=limit, visibility=visibility)
    if name == "webhook":
        from notify.channels.webhook import Webhook

        endpoint = (
            environment.Endpoint("", "whsec_" + "A" * 44) if settings.post_dry_run else environment.webhook_endpoint()
        )
        return Webhook(session, endpoint)
    return Feed()
