"""Alerts as signed HTTP requests to your own server, as in Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from functions.event import Caption
from functions.settings import Environment, Secret
from notify.captions.words import fit
from notify.channels import ChannelContext
from notify.posting.http import RateLimitWait, ask
from notify.posting.settings import require_address
from privacy.redact import require_redacted

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

_LIMIT = 1000
# The minimum in Standard Webhooks.
_SECRET_MIN = 24
_CONVERT = """`printf 'whsec_%s\\n' "$(printf %s "$BONGSU_WEBHOOK_SECRET" | base64 -w0)"`"""
_CREATE = '`echo "whsec_$(head -c 32 /dev/urandom | base64 -w0)"`'


class WebhookSettings(Environment, frozen=True):
    """One of your receivers."""

    webhook_url: Secret
    """The address to which alerts are sent."""
    webhook_secret: Secret
    """The signing secret: `whsec_` and the base64 of 24 bytes or more."""

    def __post_init__(self) -> None:
        require_address("BONGSU_WEBHOOK_URL", self.webhook_url)
        read_secret(self.webhook_secret)


class Webhook:
    """One receiver. The `webhook-id` is the same at every attempt for an alert, so the receiver can recognize repeats.

    Source: https://www.standardwebhooks.com
    """

    name: ClassVar[str] = "webhook"
    Settings: ClassVar[type[Environment]] = WebhookSettings
    sends: ClassVar[bool] = True

    def __init__(self, settings: WebhookSettings, context: ChannelContext) -> None:
        self._session = context.session
        self._url = settings.webhook_url.reveal()
        self._secret = read_secret(settings.webhook_secret)
        self._pace = RateLimitWait()

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Shorten each language separately."""
        return Caption.of({language: fit(text, _LIMIT) for language, text in caption.texts.items()})

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Send the alert with its pictures."""
        self._pace.check()
        body = msgspec.json.encode(describe(incident, text, snapshot, key, location))
        at = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(self._secret, key, at, body),
        }
        self._pace.judge(await ask(self._session, self._pace, "POST", self._url, data=body, headers=headers))
        return key


def read_secret(given: Secret) -> bytes:
    """Decode a secret to its key: base64, with or without `whsec_`, as receivers do; empty for an empty secret.

    Raises:
        ValueError: it is not base64, or too short. The message has the command that makes a valid one.
    """
    text = given.reveal().strip()
    bare = text.removeprefix("whsec_").rstrip("=")
    try:
        secret = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        # From plain text the receiver's library would derive another key than we do, and verification would fail.
        raise ValueError(
            f"BONGSU_WEBHOOK_SECRET must be whsec_ and base64: {_CONVERT} prints it in the form for both sides"
        ) from None
    if text and len(secret) < _SECRET_MIN:
        raise ValueError(
            f"BONGSU_WEBHOOK_SECRET must encode {_SECRET_MIN} bytes or more, got {len(secret)}: {_CREATE} makes one"
        )
    return secret


def sign(secret: bytes, key: str, at: int, body: bytes) -> str:
    """The `webhook-signature` of a request: HMAC-SHA256 over id, Unix time and body."""
    digest = hmac.digest(secret, f"{key}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def describe(
    incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
) -> dict[str, Any]:
    """The body of a request."""
    if snapshot is not None:
        require_redacted(snapshot)
    place = incident.place
    return {
        "type": "alert",
        "id": key,
        "text": text.texts,
        "incident": {
            "id": incident.id,
            "hazard": incident.hazard,
            "camera": incident.camera,
            "place": {"lat": place.lat, "lon": place.lon, "name": place.name, "region": place.region},
            "first_seen": incident.first_seen,
            "last_seen": incident.last_seen,
            "confidence": round(incident.confidence, 4),
        },
        "snapshot": None if snapshot is None else {"media_type": "image/jpeg", "base64": snapshot.jpeg},
        "location": None if location is None else {"media_type": "image/jpeg", "base64": location.jpeg},
    }
