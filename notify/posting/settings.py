"""The enabled channels and the languages of posts; a channel's own settings are in its module."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from functions import catalogue
from functions.settings import Environment, Secret, read, split


class Settings(Environment, frozen=True):
    """The poster's settings for all channels."""

    channels: str = "feed"
    """The enabled channels, separated by commas."""
    post_max_age_s: float = 600.0
    """Incidents captured longer ago are not posted, only shown on the map; 0: no limit."""
    post_languages: str = "ko,en"
    """Languages of a post on X, Mastodon, Bluesky and Apprise, in this order, as far as they fit into one post."""
    languages: str = "en,ko"
    """The site's languages, separated by commas; captions are in these, English and Korean (docs/translate.md)."""
    post_dry_run: bool = False
    """Log what would be posted on other servers, and send nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """The enabled channels, each once."""
        return tuple(dict.fromkeys(split(self.channels)))

    @property
    def written(self) -> tuple[str, ...]:
        """The languages that captions are in."""
        return (*catalogue.OWN, *catalogue.parse_languages("BONGSU_LANGUAGES", self.languages))

    @property
    def of_posts(self) -> tuple[str, ...]:
        """The languages of posts, in order."""
        return catalogue.parse_languages("BONGSU_POST_LANGUAGES", self.post_languages)

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError(f"BONGSU_CHANNELS must name a channel, such as feed, got {self.channels!r}")
        require_written("BONGSU_POST_LANGUAGES", self.of_posts, self.written)
        if self.post_max_age_s < 0:
            raise ValueError(f"BONGSU_POST_MAX_AGE_S must be 0 or more, got {self.post_max_age_s}")


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)


def require_written(name: str, languages: Sequence[str], written: Sequence[str]) -> None:
    """Check that captions are in all languages of a target.

    Args:
        name: what names the languages.
        languages: what it names.
        written: the languages that captions are in.

    Raises:
        ValueError: no caption is in one of them.
    """
    if missing := [language for language in languages if language not in written]:
        raise ValueError(f"{name} has {missing[0]}, in which no caption is written: add it to BONGSU_LANGUAGES")


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
