"""Hazards and feeds in the languages of this site (`BONGSU_LANGUAGES`), from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import Request, Response

from functions import catalogue
from functions.hazards import HAZARDS, Hazard, list_plurals

if TYPE_CHECKING:
    # The site has a stream, which shows what `views` writes, which takes words from here.
    from api.site import Site


def title_of(hazard: Hazard, language: str) -> str:
    """The name of a hazard, as on a chip."""
    return catalogue.name_hazard(hazard, language, "title")


def event_of(hazard: Hazard, language: str) -> str:
    """What an alert calls the event."""
    return catalogue.name_hazard(hazard, language, "event")


def titles_of(hazard: Hazard, languages: Sequence[str]) -> dict[str, str]:
    """Its name in English and Korean, and in the languages of the site."""
    return {language: title_of(hazard, language) for language in dict.fromkeys(("en", "ko", *languages))}


def list_hazards(language: str) -> str:
    """All hazards in one phrase."""
    if language == "en":
        return list_plurals().capitalize()
    return "·".join(title_of(hazard, language) for hazard in HAZARDS)


def language_for(request: Request, site: Site) -> str:
    """The language of the site that a reader prefers."""
    return catalogue.negotiate(request.headers.get("accept-language", ""), site.settings.language_codes)


def varying(response: Response) -> Response:
    """An answer that depends on the reader's language, which caches must know."""
    response.headers.add_vary_header("Accept-Language")
    return response
