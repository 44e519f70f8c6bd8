"""The endpoints of feeds: JSON Feed and Atom of the posts, CAP of the incidents, and the posts' pictures."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException

from api import atom, cap, filters, schemas_feeds, views, words
from api.openapi import answers
from api.pictures import Jpeg, picture
from api.site import AtBase, AtSite, Site
from functions.event import utc_now
from store.queries import Wanted
from store.records import Post
from web.answers import Json, answer_json, answer_text

router = APIRouter(tags=["feeds"])


class FeedJson(Json):
    """JSON Feed."""

    media_type = "application/feed+json"


class AtomXml(Response):
    """Atom (RFC 4287)."""

    media_type = "application/atom+xml"


class CapXml(Response):
    """CAP 1.2, with the media type that IANA registered."""

    media_type = "application/cap+xml"


_LENGTH = 100
_CAP_LASTS = timedelta(days=1)


@router.get(
    "/feed.json", response_class=FeedJson, response_model=schemas_feeds.Feed, responses=answers(200, 304, 401, 429, 503)
)
async def show_feed(site: AtSite, base: AtBase, request: Request) -> Response:
    """The posts of the built-in channel, newest first, as a JSON Feed 1.1."""
    posts = await site.store.posts.newest("feed", _LENGTH)
    sizes = await site.snapshots.sizes(post.location_key for post in posts if post.location_key)
    content = views.feed(posts, base, sizes, words.language_for(request, site))
    return words.varying(answer_json(request, site, content, FeedJson.media_type))


@router.get("/feed.atom", response_class=AtomXml, responses=answers(200, 304, 401, 429, 503))
async def show_atom_feed(site: AtSite, base: AtBase, request: Request) -> Response:
    """The posts of the built-in channel, newest first, as an Atom feed."""
    posts = await site.store.posts.newest("feed", _LENGTH)
    sizes = await site.snapshots.sizes(post.snapshot_key for post in posts if post.snapshot_key)
    body = atom.feed(posts, base, site.identity, sizes, words.language_for(request, site))
    return words.varying(answer_text(request, site, body, AtomXml.media_type))


@router.get("/cap.xml", response_class=AtomXml, responses=answers(200, 304, 401, 429, 503))
async def show_cap_index(site: AtSite, base: AtBase, request: Request) -> Response:
    """The last day's incidents as an Atom index of CAP 1.2 alerts, newest first."""
    now = utc_now()
    found = await site.store.incidents.find(Wanted(since=now - _CAP_LASTS, limit=_LENGTH))
    ready = [incident for incident in found.items if cap.is_ready(incident, now)]
    body = atom.cap_index(ready, base, site.identity, site.settings.quiet_s)
    return answer_text(request, site, body, AtomXml.media_type)


@router.get("/cap/{incident_id}.xml", response_class=CapXml, responses=answers(200, 304, 401, 404, 422, 429, 503))
async def show_cap_alert(site: AtSite, base: AtBase, request: Request, incident_id: filters.IncidentId) -> Response:
    """One incident as a CAP 1.2 alert: first an Alert, later an Update, and a Cancel if it is a false alarm."""
    incident = await site.store.incidents.get(incident_id)
    if incident is None or not cap.is_ready(incident, utc_now()):
        raise HTTPException(404, f"there is no alert of incident {incident_id}")
    kept = site.settings
    body = cap.alert(
        incident,
        base=base,
        site=site.identity,
        quiet_s=kept.quiet_s,
        status=kept.cap_status,
        sender=kept.cap_sender,
        languages=kept.language_codes,
    )
    return answer_text(request, site, body, CapXml.media_type)


@router.get("/api/posts/{post_id}/snapshot", response_class=Jpeg, responses=answers(200, 304, 401, 404, 422, 429, 503))
async def show_post_snapshot(site: AtSite, request: Request, post_id: filters.PostId) -> Response:
    """The mosaicked picture that went out with a post."""
    post = await _find(site, post_id)
    if post.snapshot_key is None:
        raise HTTPException(404, f"post {post_id} went out without a picture")
    return await picture(request, site, post.snapshot_key, is_lasting=True)


@router.get("/api/posts/{post_id}/location", response_class=Jpeg, responses=answers(200, 304, 401, 404, 422, 429, 503))
async def show_post_location(site: AtSite, request: Request, post_id: filters.PostId) -> Response:
    """The drawn map that went out with a post."""
    post = await _find(site, post_id)
    if post.location_key is None:
        raise HTTPException(404, f"post {post_id} went out without a map")
    return await picture(request, site, post.location_key, is_lasting=True)


async def _find(site: Site, post_id: int) -> Post:
    post = await site.store.posts.get(post_id)
    if post is None:
        raise HTTPException(404, f"there is no post {post_id}")
    return post
