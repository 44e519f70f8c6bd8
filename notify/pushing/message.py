"""What a warning says, in the subscriber's language; the page's service worker (`api/page/sw.js`) shows it."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from functions.hazards import KINDS
from store.push_subscriptions import Language
from store.records import Incident

State = Literal["alert", "update", "withdrawn"]
_WITHDRAWN = {"en": "False alarm", "ko": "오경보"}
_WITHDRAWN_BODY = {
    "en": "An operator has checked this alert and withdrawn it.",
    "ko": "운영자가 확인하여 이 경보를 취소했습니다.",
}
_NO_CAPTION = {"en": "A camera has seen it just now.", "ko": "카메라에 방금 포착되었습니다."}
# Push services must take 4,096 bytes of ciphertext (RFC 8030), and Korean takes three bytes a letter.
_TITLE_MAX, _BODY_MAX = 120, 500


class Payload(Struct, frozen=True, omit_defaults=True):
    """The payload of a push message; addresses are relative to the page, which knows its own path."""

    tag: str
    """The same for all messages about an incident: each replaces the one before."""
    state: State
    lang: Language
    title: str
    body: str
    at: int
    """When it was first seen, in milliseconds since 1970."""
    url: str
    hazard: str
    image: str = ""


def content_of(incident: Incident) -> str:
    """Digest of what a warning says about an incident: when it changes, the warning is out of date."""
    words = "" if incident.caption is None else f"{incident.caption.en}\n{incident.caption.ko}"
    has_picture = incident.snapshot_key is not None
    return hashlib.blake2b(f"{has_picture}\n{words}".encode(), digest_size=12).hexdigest()


def compose(incident: Incident, language: Language, state: State) -> bytes:
    """The payload for a subscriber of that language, as JSON."""
    title = " · ".join(filter(None, (getattr(KINDS[incident.hazard].title, language), incident.place.name)))
    body = _NO_CAPTION[language] if incident.caption is None else getattr(incident.caption, language)
    has_picture = incident.snapshot_key is not None and state != "withdrawn"
    if state == "withdrawn":
        title, body = f"{_WITHDRAWN[language]}: {title}", _WITHDRAWN_BODY[language]
    payload = Payload(
        tag=f"incident-{incident.id}",
        state=state,
        lang=language,
        title=_cut(title, _TITLE_MAX),
        body=_cut(body, _BODY_MAX),
        at=int(incident.first_seen.timestamp() * 1000),
        url=f"./?incident={incident.id}",
        hazard=incident.hazard,
        # The thumbnail, which is mosaicked as the picture is; the revision makes the address new when the picture is.
        image=f"api/incidents/{incident.id}/snapshot?v={incident.revision}&size=small" if has_picture else "",
    )
    return msgspec.json.encode(payload)


def topic_of(incident: Incident) -> str:
    """Topic (RFC 8030, 5.4): a message that is still on its way is replaced by the next one of the same topic."""
    return f"bongsu-{incident.id}"[:32]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
