"""The shapes of the feeds, of posts and of incidents on roads; as `schemas.py`, which has those of the map."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from api.schemas import Time, Words
from functions.event import Hazard


class FeedAttachment(TypedDict):
    """The drawn map of a post."""

    url: str
    mime_type: str
    title: str
    size_in_bytes: NotRequired[int]


class FeedExtension(TypedDict):
    """Facts about a post for which JSON Feed has no field."""

    incident: int
    hazard: Hazard
    place: str
    region: str
    caption: Words
    revision: int


class FeedItem(TypedDict):
    """A post, as an item of a JSON Feed 1.1."""

    id: str
    url: str
    title: str
    content_text: str
    date_published: Time
    tags: list[str]
    _bongsu: FeedExtension
    image: NotRequired[str]
    attachments: NotRequired[list[FeedAttachment]]


class Feed(TypedDict):
    """Posts, newest first, as a JSON Feed 1.1."""

    version: str
    title: str
    description: str
    language: str
    home_page_url: str
    feed_url: str
    items: list[FeedItem]


class CifsIncident(TypedDict):
    """An incident on a road, as Waze's CIFS has it."""

    id: str
    type: Literal["ACCIDENT", "HAZARD"]
    subtype: NotRequired[str]
    polyline: Annotated[str, Field(description="Latitude longitude, of two points or more.")]
    street: str
    direction: Literal["ONE_DIRECTION", "BOTH_DIRECTIONS"]
    creationtime: Time
    updatetime: Time
    starttime: Time
    endtime: Time
    description: str


class CifsItem(TypedDict):
    """An incident in its wrapper."""

    incident: CifsIncident


class Cifs(TypedDict):
    """Incidents on roads, as Waze's CIFS."""

    incidents: list[CifsItem]
