"""Posts on a Mastodon server, through its HTTP API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

import aiohttp
import structlog

from functions.event import Caption
from functions.settings import Environment, Secret
from notify.channels import ChannelContext, ChannelError
from notify.posting.http import Answer, RateLimitWait, ask
from notify.posting.pictures import upload_all
from notify.posting.settings import require_address
from notify.posting.text import fit_together, join
from privacy.drawn import require_public

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

log = structlog.get_logger()

_LIMIT = 500
_ALT_MAX = 1500
_LIMITS_KEPT_S = 86_400.0
_LIMITS_AGAIN_S = 300.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PICTURE_TIMEOUT = aiohttp.ClientTimeout(total=4, sock_connect=2)
_LIMITS_TIMEOUT = aiohttp.ClientTimeout(total=2, sock_connect=1)
_PROCESSING_WAITS_S = (0.2, 0.4, 0.8, 1.2, 1.6, 1.6)
"""Together under what the snapshot may take in all (notify/posting/pictures.py)."""


class MastodonSettings(Environment, frozen=True):
    """One account on one server."""

    mastodon_url: Secret
    """The server, such as https://social.example."""
    mastodon_token: Secret
    """Access token of the account."""
    mastodon_limit: int = 0
    """The most characters of a post; 0: the limit that the server states."""
    mastodon_visibility: Literal["public", "unlisted", "private", "direct"] = "public"
    """Who sees a post."""

    def __post_init__(self) -> None:
        require_address("BONGSU_MASTODON_URL", self.mastodon_url)
        url = self.mastodon_url.reveal()
        if url.startswith("http://") and urlsplit(url).hostname not in _LOOPBACK:
            raise ValueError("BONGSU_MASTODON_URL must start with https://: the token would travel unencrypted")
        if self.mastodon_limit != 0 and self.mastodon_limit < 100:
            raise ValueError(f"BONGSU_MASTODON_LIMIT must be 0, or 100 or more, got {self.mastodon_limit}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes; the defaults are those of Mastodon."""

    characters: int = _LIMIT
    description: int = _ALT_MAX
    picture_bytes: int = 16_777_216


class Mastodon:
    """One account on one server. Mastodon keeps idempotency keys for an hour, so a retried alert is posted once."""

    name: ClassVar[str] = "mastodon"
    Settings: ClassVar[type[Environment]] = MastodonSettings
    sends: ClassVar[bool] = True

    def __init__(self, settings: MastodonSettings, context: ChannelContext) -> None:
        self._session = context.session
        self._url = settings.mastodon_url.reveal().rstrip("/")
        self._token = settings.mastodon_token.reveal()
        self._languages = context.languages
        self._limit = settings.mastodon_limit
        self._limits, self._ask_limits_at = Limits(), 0.0
        self._visibility = settings.mastodon_visibility
        self._pace, self._picture_pace = RateLimitWait(), RateLimitWait()

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Fit the languages into the server's limit."""
        return fit_together(caption, self._languages, self._limit or self._limits.characters)

    async def prepare(self) -> None:
        """Read the server's limits once a day; until it has answered, those of Mastodon hold."""
        if time.monotonic() < self._ask_limits_at:
            return
        # First, so that alerts at the same time do not ask too, and an old server is not asked for each alert.
        self._ask_limits_at = time.monotonic() + _LIMITS_AGAIN_S
        url = f"{self._url}/api/v2/instance"
        try:
            # A pace of its own: what goes wrong here must not hold up a post.
            answer = await ask(
                self._session, RateLimitWait(), "GET", url, headers=self._headers(), timeout=_LIMITS_TIMEOUT
            )
        except ChannelError as error:
            log.warning("server_limits_unknown", channel=self.name, reason=str(error))
            return
        if not answer.is_ok:
            log.warning("server_limits_unknown", channel=self.name, reason=answer.error_text)
            return
        self._limits = read_limits(answer.json)
        self._ask_limits_at = time.monotonic() + _LIMITS_KEPT_S

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Upload the pictures with their descriptions, then post."""
        self._pace.check()
        media = await upload_all(self._upload, snapshot, text, location, incident.place)
        answer = await self._publish(text, media, key)
        if answer.status == 422 and media:
            # The server could not process the picture.
            log.warning("picture_not_posted", channel=self.name, reason=answer.error_text)
            answer = await self._publish(text, [], key)
        self._pace.judge(answer)
        named = answer.json.get("url") or answer.json.get("id")
        if not named:
            # A proxy's page, or a truncated answer.
            raise self._pace.failed(f"the answer has no id of a post: {answer.error_text}")
        return str(named)[:255]

    async def _publish(self, text: Caption, media: list[str], key: str) -> Answer:
        status: dict[str, Any] = {
            "status": join(text, self._languages),
            "visibility": self._visibility,
            "language": next((name for name in self._languages if text.text(name)), "en"),
        }
        if media:
            status["media_ids"] = media
        headers = self._headers() | {"Idempotency-Key": key}
        return await ask(
            self._session, self._pace, "POST", f"{self._url}/api/v1/statuses", json=status, headers=headers
        )

    async def _upload(self, picture: Redacted | Drawn, text: Caption) -> str | None:
        """The picture's id; None if it could not be uploaded: the text is more urgent."""
        require_public(picture)
        form = aiohttp.FormData()
        form.add_field("description", join(text, self._languages)[: self._limits.description])
        form.add_field("file", picture.jpeg, filename="snapshot.jpg", content_type="image/jpeg")
        try:
            self._picture_pace.check()
            if len(picture.jpeg) > self._limits.picture_bytes:
                size = f"picture has {len(picture.jpeg)} bytes"
                raise ChannelError(f"{size}, the server takes {self._limits.picture_bytes}")
            answer = await self._send("POST", "/api/v2/media", data=form)
            media = str(answer.json["id"])
            if answer.status == 202:
                await self._await_processing(media)
        except (ChannelError, KeyError) as error:
            log.warning("picture_not_posted", channel=self.name, reason=str(error))
            return None
        return media

    async def _await_processing(self, media: str) -> None:
        """Look until the server has processed a picture: it refuses a post with one that it is still at work on.

        Raises:
            ChannelError: it could not process it, or takes too long; the post goes out without this picture.
        """
        for wait_s in _PROCESSING_WAITS_S:
            await asyncio.sleep(wait_s)
            # 206: still at work. 422 and 404, which `_send` raises: it will never be ready.
            if (await self._send("GET", f"/api/v1/media/{media}")).status == 200:
                return
        raise ChannelError(f"the server has not processed it within {sum(_PROCESSING_WAITS_S):g} s")

    async def _send(self, method: str, path: str, **request: Any) -> Answer:
        url = f"{self._url}{path}"
        answer = await ask(
            self._session,
            self._picture_pace,
            method,
            url,
            headers=self._headers(),
            timeout=_PICTURE_TIMEOUT,
            **request,
        )
        self._picture_pace.judge(answer)
        return answer

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


def read_limits(instance: Mapping[str, Any]) -> Limits:
    """The limits in an answer of `/api/v2/instance`; the default for each that is missing or makes no sense.

    Source: https://docs.joinmastodon.org/entities/Instance/
    """

    def read(part: str, name: str, default: int) -> int:
        configuration = instance.get("configuration")
        of = configuration.get(part) if isinstance(configuration, Mapping) else None
        value = of.get(name) if isinstance(of, Mapping) else None
        return value if isinstance(value, int) and value >= 100 else default

    known = Limits()
    return Limits(
        characters=read("statuses", "max_characters", known.characters),
        description=read("media_attachments", "description_limit", known.description),
        picture_bytes=read("media_attachments", "image_size_limit", known.picture_bytes),
    )
