"""Posts on a Mastodon server, through its HTTP API."""

from __future__ import annotations

import asyncio
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

_ALT_MAX = 1500
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PICTURE_TIMEOUT = aiohttp.ClientTimeout(total=4, sock_connect=2)
_PROCESSING_WAITS_S = (0.2, 0.4, 0.8, 1.6)


class MastodonSettings(Environment, frozen=True):
    """One account on one server."""

    mastodon_url: Secret
    """The server, such as https://social.example."""
    mastodon_token: Secret
    """Access token of the account."""
    mastodon_limit: int = 500
    """The most characters of a post, as set on the server."""
    mastodon_visibility: Literal["public", "unlisted", "private", "direct"] = "public"
    """Who sees a post."""

    def __post_init__(self) -> None:
        require_address("BONGSU_MASTODON_URL", self.mastodon_url)
        url = self.mastodon_url.reveal()
        if url.startswith("http://") and urlsplit(url).hostname not in _LOOPBACK:
            raise ValueError("BONGSU_MASTODON_URL must start with https://: the token would travel unencrypted")
        if self.mastodon_limit < 100:
            raise ValueError(f"BONGSU_MASTODON_LIMIT must be 100 or more, got {self.mastodon_limit}")


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
        self._visibility = settings.mastodon_visibility
        self._pace, self._picture_pace = RateLimitWait(), RateLimitWait()

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Fit both languages into the server's limit."""
        return fit_together(caption, self._languages, self._limit)

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
            "language": next((name for name in self._languages if getattr(text, name)), self._languages[0]),
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
        form.add_field("description", join(text, self._languages)[:_ALT_MAX])
        form.add_field("file", picture.jpeg, filename="snapshot.jpg", content_type="image/jpeg")
        try:
            self._picture_pace.check()
            answer = await self._send("POST", "/api/v2/media", data=form)
            media = str(answer.json["id"])
            # 202: the server is still processing it; further requests then return 206.
            for wait_s in _PROCESSING_WAITS_S if answer.status == 202 else ():
                await asyncio.sleep(wait_s)
                if (await self._send("GET", f"/api/v1/media/{media}")).status == 200:
                    break
        except (ChannelError, KeyError) as error:
            log.warning("picture_not_posted", channel=self.name, reason=str(error))
            return None
        return media

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
