"""The API's settings from the environment, in addition to those of the stores."""

from __future__ import annotations

import re
from typing import Literal

from functions import catalogue
from functions.hook import read_hooks
from functions.push_keys import read_public
from functions.settings import read, split
from privacy.buckets import is_within
from store.settings import StoreSettings

# A host, optionally a port and a path of plain characters: it is used unchanged in addresses and a cookie.
_PUBLIC = re.compile(r"https?://[^\s/?#@]+(/[A-Za-z0-9._~-]+)*/?")


class Settings(StoreSettings, frozen=True):
    """Settings that only the API reads."""

    snapshot_keep_days: float = 30.0
    """Pictures older than this are deleted; 0 keeps them forever."""
    snapshot_keep_gb: float = 20.0
    """The oldest pictures are deleted when all together have more (10^9 bytes); 0 means unlimited."""
    clip_url: str = ""
    """A folder or bucket for the sealed clips that edge nodes send (docs/clips.md); without it none are taken."""
    clip_keep_days: float = 7.0
    """Clips older than this are deleted; keeping them without limit is not possible."""
    clip_keep_gb: float = 20.0
    """The oldest clips are deleted when all together have more (10^9 bytes)."""
    clip_incident_s: float = 120.0
    """Of a longer incident, only clips of its first seconds are wanted."""
    public_clip_url: str = ""
    """Folder or bucket of mosaicked clips, which `python -m notify.clips` makes; without it none are shown."""
    public_clip_keep_days: float = 7.0
    """Public clips older than this are deleted."""
    public_clip_keep_gb: float = 5.0
    """The oldest public clips are deleted when all together have more (10^9 bytes)."""
    http_host: str = "127.0.0.1"
    """Address that the API listens on; `0.0.0.0` is all."""
    http_port: int = 8080
    """Port that the API listens on."""
    public_url: str = ""
    """Address at which readers reach the API, such as `https://city.example/cctv`; by default the request's Host."""
    http_keep_alive_s: int = 120
    """Seconds that an idle connection stays open: if a proxy keeps its connections longer, it uses closed ones."""
    tile_url: str = ""
    """Map tiles for the page, such as `https://tile.example.org/{z}/{x}/{y}.png`; none are fetched without it."""
    tile_attribution: str = ""
    """The attribution of the map tiles on the page."""
    scale_status: str = ""
    """File that the autoscaler of one machine writes; shown as `/api/pipeline`."""
    cameras_file: str = ""
    """File of cameras that operators may change in the page; `bongsu run` names it. Without one nothing is opened."""
    fleet_status: str = ""
    """File that `bongsu fleet serve` writes, `status.json`; shown as `/api/nodes`, models and deployments."""
    sessions_url: str = ""
    """Address at which the page reaches the receive server of sessions; without it the page shows no sessions."""
    sessions_clip: str = ""
    """Video that the page offers for trying a session, in addition to the reader's camera."""
    streams_max: int = 5000
    """The most readers of the live stream in one API process; each takes about 12 KB and a file."""
    cap_status: Literal["Actual", "Exercise", "System", "Test"] = "Test"
    """Status of CAP alerts and DATEX II. Emergency services act on "Actual", so it must be set deliberately."""
    cap_sender: str = ""
    """Sender of CAP alerts, such as `alerts@city.example`; by default derived from the database's name."""
    languages: str = "en,ko"
    """Languages of page, feeds, CAP and warnings, the preferred one first, separated by commas (docs/translate.md)."""
    roads: str = ""
    """GeoJSON file of the roads that cameras overlook (docs/city.md); without it there are no road feeds."""
    country: str = "KR"
    """Whose road feeds these are: two letters of ISO 3166."""
    api_keys: str = ""
    """The API's key file, with a line for each key: `name role sha256`; `bongsu key new` prints such a line."""
    api_read: Literal["open", "key"] = "open"
    """Whether anybody may read, or only clients with a key. Writing always needs a key."""
    cors_origins: str = ""
    """Sites whose pages may read the API, such as `https://map.example.org`, separated by commas; `*` is any."""
    hooks: str = ""
    """The functions that answer requests, as `bongsu function hooks` prints them; `bongsu run` finds its own."""
    hook_keep_hours: float = 24.0
    """How long requests to hooks and their results are kept."""
    rate_limit: float = 1200.0
    """Requests a minute from one address or key; a stream counts once. 0 means unlimited."""
    trusted_proxies: str = ""
    """Addresses or networks of our own proxies, separated by commas: only their Forwarded headers are trusted."""
    push_public_key: str = ""
    """Public key of `bongsu key push`, with which browsers subscribe to warnings; without it the page offers none."""
    push_subscriptions_max: int = 20_000
    """Most subscriptions to Web Push."""
    push_per_address: float = 20.0
    """Subscriptions that one address may make or change in a day; 0 means unlimited."""
    push_allow: str = ""
    """Push services without https or at private addresses, as `host` or `host:port`, separated by commas; for tests."""

    @property
    def language_codes(self) -> tuple[str, ...]:
        """The languages, the preferred one first."""
        return catalogue.parse_languages("BONGSU_LANGUAGES", self.languages)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, limit in (("DAYS", self.snapshot_keep_days), ("GB", self.snapshot_keep_gb)):
            if not 0 <= limit < 1e6:
                raise ValueError(f"BONGSU_SNAPSHOT_KEEP_{name} must be 0 or more, got {limit}")
        self._check_clips()
        if not 0 <= self.rate_limit < 1e9:
            raise ValueError(f"BONGSU_RATE_LIMIT must be requests a minute, or 0 for no limit, got {self.rate_limit}")
        if not 0 < self.hook_keep_hours <= 8784:
            raise ValueError(f"BONGSU_HOOK_KEEP_HOURS must be over 0, up to 8784, got {self.hook_keep_hours}")
        read_hooks(self.hooks)
        if self.api_read == "key" and not self.api_keys:
            raise ValueError("BONGSU_API_READ is 'key', so BONGSU_API_KEYS must name a key file, got ''")
        for origin in split(self.cors_origins):
            if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
                raise ValueError(f"BONGSU_CORS_ORIGINS must be like https://map.example.org, or *, got {origin!r}")
        for proxy in split(self.trusted_proxies):
            # Imported here, as no function has proxies.
            from ipaddress import ip_network

            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(f"BONGSU_TRUSTED_PROXIES must be like 10.0.0.0/8, got {proxy!r}") from None
        if not 1 <= self.http_keep_alive_s <= 86_400:
            raise ValueError(f"BONGSU_HTTP_KEEP_ALIVE_S must be 1 to 86400 seconds, got {self.http_keep_alive_s}")
        if not re.fullmatch(r"[^\s,<&]*", self.cap_sender):
            raise ValueError(f"BONGSU_CAP_SENDER must have no spaces, commas, < or &, got {self.cap_sender!r}")
        if not 0 <= self.http_port <= 65_535:
            raise ValueError(f"BONGSU_HTTP_PORT must be 0 to 65535, got {self.http_port}")
        self._check_audience()
        self._check_addresses()
        self._check_push()

    def _check_clips(self) -> None:
        ranges = {
            "CLIP_KEEP_DAYS": (self.clip_keep_days, 366), "CLIP_KEEP_GB": (self.clip_keep_gb, 1e6),
            "CLIP_INCIDENT_S": (self.clip_incident_s, 86_400),
            "PUBLIC_CLIP_KEEP_DAYS": (self.public_clip_keep_days, 366),
            "PUBLIC_CLIP_KEEP_GB": (self.public_clip_keep_gb, 1e6),
        }  # fmt: skip
        for name, (value, most) in ranges.items():
            if not 0 < value <= most:
                raise ValueError(f"BONGSU_{name} must be above 0 and at most {most:g}, got {value:g}")
        for variable, url in (("SNAPSHOT", self.snapshot_url), ("PUBLIC_CLIP", self.public_clip_url)):
            if self.clip_url and url and is_within(self.clip_url, url):
                raise ValueError(
                    f"BONGSU_CLIP_URL and BONGSU_{variable}_URL must not contain each other: one is public"
                )

    def _check_audience(self) -> None:
        catalogue.parse_languages("BONGSU_LANGUAGES", self.languages)
        if not re.fullmatch(r"[A-Z]{2}", self.country):
            raise ValueError(f"BONGSU_COUNTRY must be two capital letters like KR, got {self.country!r}")

    def _check_addresses(self) -> None:
        if self.public_url and not _PUBLIC.fullmatch(self.public_url):
            example = "https://city.example or https://city.example/cctv"
            raise ValueError(f"BONGSU_PUBLIC_URL must be like {example}, got {self.public_url!r}")
        for name, address in (("TILE", self.tile_url), ("SESSIONS", self.sessions_url)):
            if address and not address.startswith(("http://", "https://")):
                raise ValueError(f"BONGSU_{name}_URL must start with http:// or https://, got {address!r}")

    def _check_push(self) -> None:
        for name, limit in (("SUBSCRIPTIONS_MAX", self.push_subscriptions_max), ("PER_ADDRESS", self.push_per_address)):
            if not 0 <= limit < 1e9:
                raise ValueError(f"BONGSU_PUSH_{name} must be 0 or more, got {limit}")
        if self.push_public_key:
            # Here, as most sites have no push, and nothing else of the API needs the package.
            from importlib.util import find_spec

            read_public(self.push_public_key)
            if find_spec("http_ece") is None:
                raise ValueError("BONGSU_PUSH_PUBLIC_KEY needs the package http-ece: pip install 'bongsu[push]'")


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)
