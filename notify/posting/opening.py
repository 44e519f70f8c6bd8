"""Finds and opens the channels that the settings name; the poster calls it once per replica."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import structlog

import notify.channels
from functions.event import Caption, Hazard, Place
from functions.settings import SettingsError, read
from notify.channels import Channel, ChannelClass, ChannelContext, ChannelFamily, SelectiveChannel

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from notify.posting.settings import Settings
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

log = structlog.get_logger()

GROUP = "bongsu.channels"
"""The entry points by which other packages add a channel: `telegram = "my_package.telegram:Telegram"`."""


class DryRun:
    """Replaces a channel: logs what it would post, and sends nothing."""

    def __init__(self, channel: Channel) -> None:
        self.name = channel.name
        self.fit: Callable[[Caption, int], Caption] = channel.fit
        self._channel = channel

    def wants(self, hazard: Hazard, place: Place) -> bool:
        """As the channel that it stands for."""
        return not isinstance(self._channel, SelectiveChannel) or self._channel.wants(hazard, place)

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Log it."""
        log.info(
            "post_held_back", channel=self.name, incident=incident.id, **text.texts,
            picture_bytes=None if snapshot is None else len(snapshot.jpeg),
            map_bytes=None if location is None else len(location.jpeg),
        )  # fmt: skip
        return f"dry-run:{key}"


@contextlib.asynccontextmanager
async def open_channels(settings: Settings) -> AsyncIterator[Sequence[Channel]]:
    """Open the enabled channels. Modules of other channels are not imported.

    Raises:
        SettingsError: there is no such channel, a credential is missing or invalid, or a package is missing.
    """
    context = ChannelContext(settings.of_posts, written=settings.written)
    try:
        opened = [_open(name, context, is_dry_run=settings.post_dry_run) for name in settings.names]
        yield [channel for channels in opened for channel in channels]
    finally:
        await context.close()


def find_channel(name: str) -> ChannelClass:
    """Find the class of a channel: built in, in `notify/channels/NAME.py`, or added by another package.

    Raises:
        SettingsError: there is none of that name, or it cannot be imported; the message lists the available ones.
    """
    try:
        if name in _built_in():
            return _class_in(f"notify.channels.{name}", name)
        if (added := _added().get(name)) is not None:
            return cast("ChannelClass", added.load())
    except ImportError as error:
        raise SettingsError(f"channel {name}: {error}: pip install 'bongsu[{_extra(name)}]'") from None
    raise SettingsError(f"BONGSU_CHANNELS must be some of {', '.join(list_channels())}, got {name!r}")


def list_channels() -> tuple[str, ...]:
    """The names of all channels: built-in ones first, then those of other packages."""
    return tuple(dict.fromkeys([*_built_in(), *sorted(_added())]))


def _built_in() -> list[str]:
    # Found by file, not by pkgutil, whose import is slower than everything else here.
    return [path.stem for folder in notify.channels.__path__ for path in sorted(Path(folder).glob("[a-z]*.py"))]


def _added() -> dict[str, EntryPoint]:
    # Imported here, because it is slow to import, and only needed for channels of other packages.
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _class_in(module: str, name: str) -> ChannelClass:
    """The channel's class in a module: the one with its name."""
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, type) and getattr(value, "name", None) == name:
            return cast("ChannelClass", value)
    raise SettingsError(f"{module} has no class with name = {name!r}")


def _open(name: str, context: ChannelContext, *, is_dry_run: bool) -> Sequence[Channel]:
    channel = find_channel(name)
    is_rehearsed = is_dry_run and channel.sends
    settings = read(channel.Settings, without_secrets=is_rehearsed)
    try:
        family = channel.open_all(settings, context) if isinstance(channel, ChannelFamily) else None
        opened = [channel(settings, context)] if family is None else family
    except ImportError as error:
        raise SettingsError(f"channel {name}: {error}: pip install 'bongsu[{_extra(name)}]'") from None
    return [DryRun(one) for one in opened] if is_rehearsed else opened


def _extra(name: str) -> str:
    return f"post,{name}" if name == "apprise" else "post"
