"""Posts on X: the text through tweepy, the picture through API v2's media upload, which tweepy lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
import structlog
from oauthlib.oauth1 import Client as Signer
from tweepy.asynchronous import AsyncClient
from tweepy.errors import HTTPException
from yarl import URL

from functions.event import Caption
from functions.settings import Environment, Secret
from notify.channels import ChannelContext, ChannelError
from notify.posting.http import Answer, RateLimitWait, ask, explain
from notify.posting.pictures import upload_all
from notify.posting.text import fit_together, join, weigh_for_x
from privacy.drawn import require_public

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

log = structlog.get_logger()

_LIMIT = 280
_ALT_MAX = 1000
_PICTURE_MAX = 5_000_000
_UPLOAD_URL = "https://api.x.com"
_UPLOAD_TIMEOUT = aiohttp.ClientTimeout(total=4, sock_connect=2)


class XSettings(Environment, frozen=True):
    """The four OAuth 1.0a values of an app and of the account for which it posts."""

    x_api_key: Secret
    """API key of the app (consumer key)."""
    x_api_secret: Secret
    """API secret of the app (consumer secret)."""
    x_access_token: Secret
    """Access token of the account."""
    x_access_secret: Secret
    """Access secret of the account."""
    x_api_url: str = ""
    """A server in place of X's, for tests."""


class X:
    """One account on X.

    X has no idempotency keys, but refuses a text that the account has just published. Each text ends with the number of
    the incident, so no two alerts are the same, and such a refusal shows that an earlier attempt went out.
    """

    name: ClassVar[str] = "x"
    Settings: ClassVar[type[Environment]] = XSettings
    sends: ClassVar[bool] = True

    def __init__(self, settings: XSettings, context: ChannelContext) -> None:
        session, api_url = context.session, settings.x_api_url
        self._session = session
        self._languages = context.languages
        self._upload_url = api_url or _UPLOAD_URL
        self._pace, self._picture_pace = RateLimitWait(), RateLimitWait()
        keys = (settings.x_api_key, settings.x_api_secret, settings.x_access_token, settings.x_access_secret)
        named = [key.reveal() for key in keys]
        self._signer = Signer(*named)
        self._client = AsyncClient(None, *named, return_type=aiohttp.ClientResponse)
        self._client.session = _Elsewhere(session, URL(api_url)) if api_url else session

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Fit the languages into 280 characters as X counts, with room for the incident's number."""
        return fit_for_x(caption, incident_id, self._languages)

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Upload the pictures with their descriptions, then post."""
        self._pace.check()
        media = await upload_all(self._upload, snapshot, text, location, incident.place)
        words = join(text, self._languages) + _number(incident.id)
        answer = await self._tweet(words, media)
        if answer.status == 400 and media:
            log.warning("picture_not_posted", channel=self.name, reason=answer.error_text)
            answer = await self._tweet(words, [])
        if answer.status == 403 and "duplicate" in answer.error_text.lower():
            log.info("post_was_out_already", channel=self.name, incident=incident.id)
            return f"duplicate:{key}"
        self._pace.judge(answer)
        data = answer.json.get("data")
        named = data.get("id") if isinstance(data, dict) else None
        if not named:
            # A proxy's page, or a truncated answer.
            raise self._pace.failed(f"the answer has no id of a post: {answer.error_text}")
        return str(named)

    async def _tweet(self, words: str, media: list[str]) -> Answer:
        try:
            response = await self._client.create_tweet(text=words, media_ids=media or None, user_auth=True)
            return await _answer_of(response)
        except HTTPException as refusal:
            return await _answer_of(refusal.response)
        except aiohttp.ContentTypeError as error:
            # tweepy parses every error as JSON; a proxy's is HTML.
            return Answer(error.status, error.headers or {}, {})
        except ValueError as error:
            # tweepy could not read it either, so its content is unknown.
            raise self._pace.failed("answer could not be read") from error
        except Exception as error:
            raise explain(error, self._pace) from error

    async def _upload(self, picture: Redacted | Drawn, text: Caption) -> str | None:
        """The picture's id on X; None if it could not be uploaded: the text is more urgent."""
        require_public(picture)
        try:
            self._picture_pace.check()
            if len(picture.jpeg) > _PICTURE_MAX:
                raise ChannelError(f"picture has {len(picture.jpeg)} bytes, the maximum on X is {_PICTURE_MAX}")
            form = aiohttp.FormData()
            form.add_field("media_category", "tweet_image")
            form.add_field("media", picture.jpeg, filename="snapshot.jpg", content_type="image/jpeg")
            answer = await self._send("/2/media/upload", data=form)
            self._picture_pace.judge(answer)
            media = str(answer.json["data"]["id"])
            described = {"id": media, "metadata": {"alt_text": {"text": join(text, self._languages)[:_ALT_MAX]}}}
            self._picture_pace.judge(await self._send("/2/media/metadata", json=described))
        except (ChannelError, KeyError, TypeError) as error:
            log.warning("picture_not_posted", channel=self.name, reason=str(error))
            return None
        return media

    async def _send(self, path: str, **request: Any) -> Answer:
        url = f"{self._upload_url}{path}"
        # OAuth 1.0a does not sign multipart or JSON bodies.
        _, headers, _ = self._signer.sign(url, "POST")
        return await ask(
            self._session, self._picture_pace, "POST", url, headers=headers, timeout=_UPLOAD_TIMEOUT, **request
        )


def fit_for_x(caption: Caption, incident_id: int, languages: Sequence[str]) -> Caption:
    """Fit the languages into 280 characters as X counts, with room for the incident's number."""
    return fit_together(caption, languages, _LIMIT - len(_number(incident_id)), weigh_for_x)


def _number(incident_id: int) -> str:
    return f" [{incident_id}]"


async def _answer_of(response: aiohttp.ClientResponse) -> Answer:
    """Convert a response that tweepy has read already."""
    content = await response.json(content_type=None)
    return Answer(response.status, response.headers, content if isinstance(content, dict) else {})


class _Elsewhere:
    """Redirects tweepy's requests, whose server is fixed, to another one."""

    def __init__(self, session: aiohttp.ClientSession, base: URL) -> None:
        self._session = session
        self._base = base

    def request(self, method: str, url: Any, **request: Any) -> Any:
        path = URL(url, encoded=True).raw_path_qs
        return self._session.request(method, URL(f"{self._base}{path}", encoded=True), **request)
