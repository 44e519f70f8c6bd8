"""Posts as an Atom feed (RFC 4287), and the index of CAP alerts as another; `feeds.py` serves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from api import cap, views
from api.markup import Element, add, render
from functions.event import utc_now
from functions.hazards import list_plurals
from store.records import Incident, Post

_ATOM = "http://www.w3.org/2005/Atom"
# A feed without entries was last updated when nothing had happened yet.
_NEVER = datetime(2026, 1, 1, tzinfo=UTC)


def feed(posts: Sequence[Post], public_url: str) -> bytes:
    """Posts, newest first; addresses are absolute if `public_url` is given."""
    updated = max((post.posted_at for post in posts), default=_NEVER)
    root = _feed("Bongsu alerts", "posts", "feed.atom", updated, public_url)
    add(root, "subtitle", f"{list_plurals().capitalize()} seen by cameras. Faces are mosaicked.")
    for post in posts:
        incident = post.incident
        entry = _entry(root, views.title(incident), f"post-{post.id}", post.posted_at, public_url)
        add(entry, "published", views.timestamp(post.posted_at))
        add(entry, "link", rel="alternate", type="text/html", href=f"{public_url}/?incident={incident.id}")
        if post.snapshot_key is not None:
            address = f"{public_url}/api/posts/{post.id}/snapshot"
            add(entry, "link", rel="enclosure", type="image/jpeg", href=address)
        add(entry, "category", term=incident.hazard)
        add(entry, "content", f"{post.text.en}\n{post.text.ko}", type="text")
    return render(root)


def cap_index(incidents: Sequence[Incident], public_url: str, quiet_s: float) -> bytes:
    """One entry for each incident, with a link to its alert; an entry's id is new when its alert is."""
    now = utc_now()
    updated = max((cap.sent_at(incident) for incident in incidents), default=_NEVER)
    root = _feed("Bongsu CAP 1.2 alerts", "cap", "cap.xml", updated, public_url)
    for incident in incidents:
        message = cap.identify(incident, public_url, incident.is_open(now, quiet_s))
        entry = _entry(root, views.title(incident), f"cap-{message.identifier}", message.sent_at, public_url)
        kind = "application/cap+xml"
        add(entry, "link", rel="alternate", type=kind, href=f"{public_url}/cap/{incident.id}.xml")
        add(entry, "category", term=incident.hazard)
        add(entry, "summary", views.title(incident) if incident.caption is None else incident.caption.en, type="text")
    return render(root)


def _feed(title: str, name: str, path: str, updated: datetime, public_url: str) -> Element:
    root = Element("feed", {"xmlns": _ATOM})
    add(root, "id", _tag(name, public_url))
    add(root, "title", title)
    add(root, "updated", views.timestamp(updated))
    add(add(root, "author"), "name", "Bongsu")
    add(root, "link", rel="self", href=f"{public_url}/{path}")
    return root


def _entry(root: Element, title: str, name: str, updated: datetime, public_url: str) -> Element:
    entry = add(root, "entry")
    add(entry, "id", _tag(name, public_url))
    add(entry, "title", title)
    add(entry, "updated", views.timestamp(updated))
    return entry


def _tag(name: str, public_url: str) -> str:
    # RFC 4151: it stays what it is wherever the feed moves.
    return f"tag:{urlsplit(public_url).hostname or 'localhost'},2026:bongsu-{name}"
