"""Which channels are on, and their credentials: from the environment, or from files that it names (`…_FILE`)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from functions.settings import Environment, SettingsError, read
from notify.channels.text import Language

Visibility = Literal["public", "unlisted", "private", "direct"]
NAMES = ("feed", "x", "mastodon", "webhook")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Settings(Environment, frozen=True):
    """What is no secret."""

    channels: str = "feed"
    """Those that are on, separated by commas."""
    post_max_age_s: float = 600.0
    """What was captured longer ago is not posted any more, only shown on the map; 0 posts whatever its age."""
    post_languages: str = "ko,en"
    """In the order they are said where both have to fit into one post."""
    post_dry_run: bool = False
    """Write into the log what would be posted on other servers, and send nothing."""
    x_api_url: str = ""
    """Another server than X's own, for tests."""
    mastodon_limit: int = 500
    """Most characters of a post; the server's own setting."""
    mastodon_visibility: Visibility = "public"

    @property
    def names(self) -> tuple[str, ...]:
        """The channels that are on, each once."""
        return tuple(dict.fromkeys(part.strip() for part in self.channels.split(",") if part.strip()))

    @property
    def languages(self) -> tuple[Language, ...]:
        """What posts are said in, in order."""
        return cast("tuple[Language, ...]", tuple(part.strip() for part in self.post_languages.split(",")))

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in NAMES]
        if unknown or not self.names:
            raise ValueError(f"BONGSU_CHANNELS must be some of {', '.join(NAMES)}, got {self.channels!r}")
        if not set(self.languages) <= {"ko", "en"} or len(set(self.languages)) != len(self.languages):
            raise ValueError(f"BONGSU_POST_LANGUAGES must be ko, en or both, got {self.post_languages!r}")
        if self.post_max_age_s < 0:
            raise ValueError(f"BONGSU_POST_MAX_AGE_S must be 0 or more, got {self.post_max_age_s}")
        if self.mastodon_limit < 100:
            raise ValueError(f"BONGSU_MASTODON_LIMIT must be 100 or more, got {self.mastodon_limit}")


@dataclass(frozen=True, slots=True)
class XKeys:
    """The four OAuth 1.0a values of an app and of the account that it posts for."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    access_token: str = field(repr=False)
    access_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address and the secret that opens it."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return read(Settings)


def x_keys() -> XKeys:
    """What X wants.

    Raises:
        SettingsError: one is missing.
    """
    return XKeys(*(_secret(f"BONGSU_X_{name}") for name in ("API_KEY", "API_SECRET", "ACCESS_TOKEN", "ACCESS_SECRET")))


def mastodon_endpoint() -> Endpoint:
    """The Mastodon server and the token of the account.

    Raises:
        SettingsError: one is missing, or the token would travel unencrypted.
    """
    url = _address("BONGSU_MASTODON_URL")
    if url.startswith("http://") and urlsplit(url).hostname not in _LOOPBACK:
        raise SettingsError("BONGSU_MASTODON_URL must start with https://: the token would travel unencrypted")
    return Endpoint(url.rstrip("/"), _secret("BONGSU_MASTODON_TOKEN"))


def webhook_endpoint() -> Endpoint:
    """Where alerts are sent, and the secret that signs them.

    Raises:
        SettingsError: one is missing.
    """
    return Endpoint(_address("BONGSU_WEBHOOK_URL"), _secret("BONGSU_WEBHOOK_SECRET"))


def _address(name: str) -> str:
    url = _secret(name)
    # It is not repeated: the path of a webhook's address is often its password.
    if not url.startswith(("https://", "http://")) or not urlsplit(url).hostname:
        raise SettingsError(f"{name} must be an address that starts with https:// (or http://)")
    return url


def _secret(name: str) -> str:
    """A value that no message may repeat, from the variable or from the file that `<name>_FILE` names."""
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and file:
        raise SettingsError(f"{name} and {name}_FILE are both set: keep one")
    if file:
        try:
            value = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise SettingsError(f"{name}_FILE: cannot read {file!r}: {reason}") from None
    value = value.strip()
    if not value:
        raise SettingsError(f"{name} is not set: set it, or {name}_FILE to a file that holds it (docs/channels.md)")
    if not value.isprintable():
        raise SettingsError(f"{name} must be one line")
    return value
