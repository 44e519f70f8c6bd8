"""What a warning says, in the subscriber's language; the page's service worker (`api/page/sw.js`) shows it."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Literal

import msgspec
from msgspec import Struct

from functions import catalogue
from store.records import Incident

State = Literal["alert", "update", "withdrawn"]
# Push services must take 4,096 bytes of ciphertext (RFC 8030), and Korean takes three bytes a letter.
_TITLE_MAX, _BODY_MAX = 120, 500


class Payload(Struct, frozen=True, omit_defaults=True):
    """The payload of a push message; addresses are relative to the page, which knows its own path."""

    tag: str
    """The same for all messages about an incident: each replaces the one before."""
    state: State
    lang: str
    title: str
    body: str
    at: int
    """When it was first seen, in milliseconds since 1970."""
    url: str
    hazard: str
    image: str = ""


def content_of(incident: Incident) -> str:
    """Digest of what a warning says about an incident: when it changes, the warning is out of date."""
    words = "" if incident.caption is None else "\n".join(incident.caption.texts.values())
    has_picture = incident.snapshot_key is not None
    return hashlib.blake2b(f"{has_picture}\n{words}".encode(), digest_size=12).hexdigest()


def compose(incident: Incident, language: str, state: State) -> bytes:
    """The payload for a subscriber of that language, as JSON."""
    say, caption = partial(catalogue.say, language), incident.caption
    title = " · ".join(filter(None, (catalogue.name_hazard(incident.hazard, language, "title"), incident.place.name)))
    # A caption from before the language was added has no text in it.
    body = say("push-no-caption") if caption is None else caption.text(language) or caption.en
    has_picture = incident.snapshot_key is not None and state != "withdrawn"
    if state == "withdrawn":
        title, body = f"{say('push-withdrawn')}: {title}", say("push-withdrawn-body")
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
