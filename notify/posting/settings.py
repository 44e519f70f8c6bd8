"""The enabled channels and the languages of posts; a channel's own settings are in its module."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from functions.settings import Environment, Secret, read, split
from notify.posting.text import Language


class Settings(Environment, frozen=True):
    """The poster's settings for all channels."""

    channels: str = "feed"
    """The enabled channels, separated by commas."""
    post_max_age_s: float = 600.0
    """Incidents captured longer ago are not posted, only shown on the map; 0: no limit."""
    post_languages: str = "ko,en"
    """Languages of a post on X, Mastodon, Bluesky and Apprise, in this order if both fit into one post."""
    post_dry_run: bool = False
    """Log what would be posted on other servers, and send nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """The enabled channels, each once."""
        return tuple(dict.fromkeys(split(self.channels)))

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages of posts, in order."""
        return cast("tuple[Language, ...]", tuple(part.strip() for part in self.post_languages.split(",")))

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError(f"BONGSU_CHANNELS must name a channel, such as feed, got {self.channels!r}")
        if not set(self.languages) <= {"ko", "en"} or len(set(self.languages)) != len(self.languages):
            raise ValueError(f"BONGSU_POST_LANGUAGES must be ko, en or both, got {self.post_languages!r}")
        if self.post_max_age_s < 0:
            raise ValueError(f"BONGSU_POST_MAX_AGE_S must be 0 or more, got {self.post_max_age_s}")


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)


def require_address(name: str, address: Secret) -> None:
    """Check that a setting is a server's address.

    Args:
        name: the variable. Messages do not contain the value: a webhook's path is often its password.
        address: its value; an empty one is accepted.

    Raises:
        ValueError: it does not start with http:// or https://, or has no host.
    """
    url = address.reveal()
    if url and (not url.startswith(("https://", "http://")) or not urlsplit(url).hostname):
        raise ValueError(f"{name} must be an address that starts with https:// (or http://)")
