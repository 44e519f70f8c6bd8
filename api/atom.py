"""Atom feeds (RFC 4287) of the posts and of the CAP alerts; `feeds.py` serves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid5

from api import cap, views, words
from api.markup import Element, add, render
from functions import catalogue
from functions.event import utc_now
from store.records import Incident, Post

_ATOM = "http://www.w3.org/2005/Atom"
# The update time of a feed without entries.
_NEVER = datetime(2026, 1, 1, tzinfo=UTC)


def feed(
    posts: Sequence[Post], base: str, site: UUID, sizes: Mapping[str, int] | None = None, language: str = "en"
) -> bytes:
    """Posts, newest first.

    Args:
        posts: the posts to show.
        base: the prefix of all addresses.
        site: name of the database, a part of all identifiers.
        sizes: sizes of pictures in bytes, by key.
        language: the language of titles.
    """
    updated = max((post.posted_at for post in posts), default=_NEVER)
    root = _feed(catalogue.say(language, "feed-title"), "posts", updated, address=f"{base}/feed.atom", site=site)
    root.set("xml:lang", language)
    add(root, "subtitle", catalogue.say(language, "feed-subtitle", hazards=words.list_hazards(language)))
    for post in posts:
        incident = post.incident
        entry = _entry(root, views.title(incident, language), f"post-{post.id}", post.posted_at, site)
        add(entry, "published", views.timestamp(post.posted_at))
        add(entry, "link", rel="alternate", type="text/html", href=f"{base}/?incident={incident.id}")
        if post.snapshot_key is not None:
            address = f"{base}/api/posts/{post.id}/snapshot"
            size = (sizes or {}).get(post.snapshot_key)
            length = {} if size is None else {"length": str(size)}
            add(entry, "link", rel="enclosure", type="image/jpeg", href=address, **length)
        add(entry, "category", term=incident.hazard)
        add(entry, "content", views.said(post.text, language), type="text")
    return render(root)


def cap_index(incidents: Sequence[Incident], base: str, site: UUID, quiet_s: float) -> bytes:
    """One entry for each incident, with a link to its alert; a new alert has a new entry id."""
    now = utc_now()
    updated = max((cap.sent_at(incident) for incident in incidents), default=_NEVER)
    root = _feed("Bongsu CAP 1.2 alerts", "cap", updated, address=f"{base}/cap.xml", site=site)
    for incident in incidents:
        message = cap.identify(incident, site, incident.is_open(now, quiet_s))
        entry = _entry(root, views.title(incident), f"cap-{message.identifier}", message.sent_at, site)
        kind = "application/cap+xml"
        add(entry, "link", rel="alternate", type=kind, href=f"{base}/cap/{incident.id}.xml")
        add(entry, "category", term=incident.hazard)
        add(entry, "summary", views.title(incident) if incident.caption is None else incident.caption.en, type="text")
    return render(root)


def _feed(title: str, name: str, updated: datetime, *, address: str, site: UUID) -> Element:
    root = Element("feed", {"xmlns": _ATOM})
    add(root, "id", _identifier(name, site))
    add(root, "title", title)
    add(root, "updated", views.timestamp(updated))
    add(add(root, "author"), "name", "Bongsu")
    add(root, "link", rel="self", href=address)
    return root


def _entry(root: Element, title: str, name: str, updated: datetime, site: UUID) -> Element:
    entry = add(root, "entry")
    add(entry, "id", _identifier(name, site))
    add(entry, "title", title)
    add(entry, "updated", views.timestamp(updated))
    return entry


def _identifier(name: str, site: UUID) -> str:
    # The id does not depend on the feed's address, and is unique to this site.
    return uuid5(site, name).urn
