"""Posts on Bluesky, by the XRPC calls of an account's own server (its PDS)."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import aiohttp
import structlog

from functions.event import Caption, utc_now
from functions.jpeg import PictureError, check_jpeg
from functions.settings import Environment, Secret
from notify.channels import ChannelContext, ChannelError, UnknownOutcomeError
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

_COLLECTION = "app.bsky.feed.post"
_LIMIT = 300
_ALT_MAX = 2000
_PICTURE_MAX = 1_000_000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_UPLOAD_TIMEOUT = aiohttp.ClientTimeout(total=4, sock_connect=2)
_TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
_DAY_US = 86_400_000_000


class BlueskySettings(Environment, frozen=True):
    """One account on Bluesky, or on a server of its own."""

    bluesky_handle: Secret
    """Handle of the account, such as alerts.example.org."""
    bluesky_password: Secret
    """An app password of the account; not the password that its owner signs in with."""
    bluesky_url: str = "https://bsky.social"
    """The account's server, if it is another."""
    public_url: str = ""
    """Address under which readers reach the map; posts link there, and without it they have no link."""

    def __post_init__(self) -> None:
        require_address("BONGSU_BLUESKY_URL", Secret(self.bluesky_url))
        if self.bluesky_url.startswith("http://") and urlsplit(self.bluesky_url).hostname not in _LOOPBACK:
            raise ValueError("BONGSU_BLUESKY_URL must start with https://: the password would travel unencrypted")
        require_address("BONGSU_PUBLIC_URL", Secret(self.public_url))


class Bluesky:
    """One account. A post's key in the account's repository follows from the alert, so repeated it is the same post."""

    name: ClassVar[str] = "bluesky"
    Settings: ClassVar[type[Environment]] = BlueskySettings
    sends: ClassVar[bool] = True

    def __init__(self, settings: BlueskySettings, context: ChannelContext) -> None:
        self._session = context.session
        self._languages = context.languages
        self._handle = settings.bluesky_handle.reveal().removeprefix("@")
        self._password = settings.bluesky_password.reveal()
        self._url = settings.bluesky_url.rstrip("/")
        self._public_url = settings.public_url.rstrip("/")
        self._pace, self._picture_pace, self._login_pace = RateLimitWait(), RateLimitWait(), RateLimitWait()
        self._account: tuple[str, str] | None = None
        """DID and access token, while signed in."""

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """All languages in 300 graphemes, with room for the link."""
        link = self._link(incident_id)
        room = _LIMIT - (0 if link is None else count_graphemes(link[0]) + 1)
        return fit_together(caption, self._languages, room, count_graphemes)

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Upload the pictures with their descriptions, and post all."""
        self._pace.check()
        await self._sign_in()
        pictures: dict[str, dict[str, Any]] = {}
        uploaded = await upload_all(partial(self._upload, pictures), snapshot, text, location, incident.place)
        images = [pictures[link] for link in uploaded]
        record = self._record(incident, text, images)
        answer = await self._put(record, record_key(key, incident.first_seen))
        if answer.status in (400, 413) and images and not _is_expired(answer):
            log.warning("picture_not_posted", channel=self.name, reason=answer.error_text)
            answer = await self._put(self._record(incident, text, []), record_key(key, incident.first_seen))
        self._pace.judge(answer)
        if not answer.json.get("uri"):
            # A proxy's own page, or an answer that was cut.
            raise self._pace.failed(f"answer names no post: {answer.error_text}")
        return str(answer.json["uri"])[:255]

    def _record(self, incident: Incident, text: Caption, images: list[dict[str, Any]]) -> dict[str, Any]:
        words, link = join(text, self._languages), self._link(incident.id)
        record: dict[str, Any] = {
            "$type": _COLLECTION,
            "createdAt": utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "langs": [name for name in self._languages if text.text(name)] or ["en"],
        }
        if link is not None:
            shown, url = link
            # Facets count bytes of UTF-8.
            start = len(f"{words}\n".encode())
            record["facets"] = [
                {
                    "index": {"byteStart": start, "byteEnd": start + len(shown.encode())},
                    "features": [{"$type": "app.bsky.richtext.facet#link", "uri": url}],
                }
            ]
            words = f"{words}\n{shown}"
        if images:
            record["embed"] = {"$type": "app.bsky.embed.images", "images": images}
        return record | {"text": words}

    def _link(self, incident_id: int) -> tuple[str, str] | None:
        """What is shown of the link to the map, and its address."""
        if not self._public_url:
            return None
        url = f"{self._public_url}/?incident={incident_id}"
        return url.partition("://")[2], url

    async def _put(self, record: Mapping[str, Any], rkey: str) -> Answer:
        # Not createRecord: that would make a second post of a repeated alert, or refuse it.
        did, _ = await self._sign_in()
        body = {"repo": did, "collection": _COLLECTION, "rkey": rkey, "record": record}
        return await self._call("com.atproto.repo.putRecord", self._pace, json=body)

    async def _upload(
        self, pictures: dict[str, dict[str, Any]], picture: Redacted | Drawn, text: Caption
    ) -> str | None:
        """The picture's digest on the server, by which it is put into `pictures`.

        None where it could not be uploaded: the words are more urgent.
        """
        require_public(picture)
        try:
            self._picture_pace.check()
            width, height = check_jpeg(picture.jpeg)
            if len(picture.jpeg) > _PICTURE_MAX:
                raise ChannelError(f"picture has {len(picture.jpeg)} bytes, Bluesky takes {_PICTURE_MAX}")
            answer = await self._call(
                "com.atproto.repo.uploadBlob", self._picture_pace, data=picture.jpeg, timeout=_UPLOAD_TIMEOUT,
                headers={"Content-Type": "image/jpeg"},
            )  # fmt: skip
            self._picture_pace.judge(answer)
            blob = answer.json["blob"]
            link = str(blob["ref"]["$link"])
        except (ChannelError, PictureError, KeyError, TypeError) as error:
            log.warning("picture_not_posted", channel=self.name, reason=str(error))
            return None
        alt = join(text, self._languages)[:_ALT_MAX]
        pictures[link] = {"image": blob, "alt": alt, "aspectRatio": {"width": width, "height": height}}
        return link

    async def _sign_in(self) -> tuple[str, str]:
        """DID and access token.

        Raises:
            ChannelError: it was refused, or the server could not be asked; nothing was posted.
        """
        if self._account is None:
            self._login_pace.check()
            body = {"identifier": self._handle, "password": self._password}
            url = f"{self._url}/xrpc/com.atproto.server.createSession"
            try:
                answer = await ask(self._session, self._login_pace, "POST", url, json=body)
                self._login_pace.judge(answer)
            except UnknownOutcomeError as error:
                # Whether we are signed in is unknown; that nothing was posted is not.
                raise ChannelError(f"cannot sign in: {error}", after_s=error.after_s) from None
            except ChannelError as error:
                raise ChannelError(f"cannot sign in: {error}", after_s=error.after_s) from None
            if not answer.json.get("did") or not answer.json.get("accessJwt"):
                failure = self._login_pace.failed(f"cannot sign in: answer names no account: {answer.error_text}")
                raise ChannelError(str(failure), after_s=failure.after_s)
            self._account = str(answer.json["did"]), str(answer.json["accessJwt"])
        return self._account

    async def _call(self, method: str, pace: RateLimitWait, **request: Any) -> Answer:
        """One call; where the token has expired, signed in again and once more."""
        url, more = f"{self._url}/xrpc/{method}", request.pop("headers", {})
        for attempt in range(2):
            _, token = await self._sign_in()
            headers = more | {"Authorization": f"Bearer {token}"}
            answer = await ask(self._session, pace, "POST", url, headers=headers, **request)
            if not _is_expired(answer) or attempt:
                break
            self._account = None
        return answer


def count_graphemes(text: str) -> int:
    """The length of a text in graphemes, or a little more: a joined emoji counts each of its parts.

    So a text is never longer than was counted.
    """
    composed = unicodedata.normalize("NFC", text)
    return sum(unicodedata.category(c) not in ("Mn", "Me") and c != "\u200d" for c in composed) or len(composed)


def record_key(key: str, at: datetime) -> str:
    """The key of an alert's post: always the same for the same alert, and in the order of days.

    It is a TID, as posts need: 53 bits of microseconds and 10 bits of a clock's id. Its day is that of the incident,
    and the time of day and the clock are a digest.

    Source: https://atproto.com/specs/tid
    """
    digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
    day = int(at.astimezone(UTC).timestamp()) // 86_400
    number = (day * _DAY_US + (digest >> 10) % _DAY_US) << 10 | digest & 1023
    return "".join(_TID_DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


def _is_expired(answer: Answer) -> bool:
    return answer.status in (400, 401) and answer.json.get("error") in ("ExpiredToken", "InvalidToken")
