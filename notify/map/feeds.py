"""The endpoints of posts: feeds of the built-in channel, and their pictures."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException

from notify.map import filters, views
from notify.map.answers import answer_json, picture
from notify.map.records import Post
from notify.map.site import AtSite, Site

router = APIRouter(tags=["feeds"])

_LENGTH = 100


@router.get("/feed.json")
async def show_feed(site: AtSite, request: Request) -> Response:
    """The posts of the built-in channel, newest first, as a JSON Feed 1.1."""
    posts = await site.store.posts("feed", _LENGTH)
    return answer_json(request, site, views.feed(list(posts), site.public_url), "application/feed+json")


@router.get("/api/posts/{post_id}/snapshot", response_class=Response)
async def show_post_snapshot(site: AtSite, post_id: str) -> Response:
    """The mosaicked picture that went out with a post."""
    post = await _find(site, post_id)
    if post.snapshot_key is None:
        raise HTTPException(404, f"post {post_id} went out without a picture")
    return await picture(site, post.snapshot_key, is_lasting=True)


@router.get("/api/posts/{post_id}/location", response_class=Response)
async def show_post_location(site: AtSite, post_id: str) -> Response:
    """The drawn map that went out with a post."""
    post = await _find(site, post_id)
    if post.location_key is None:
        raise HTTPException(404, f"post {post_id} went out without a map")
    return await picture(site, post.location_key, is_lasting=True)


async def _find(site: Site, post_id: str) -> Post:
    post = await site.store.post(filters.parse_id(post_id))
    if post is None:
        raise HTTPException(404, f"there is no post {post_id}")
    return post
