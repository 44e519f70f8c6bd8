"""`Drawn`, the counterpart of `Redacted`: a generated picture that shows no camera's frame, such as a map of a place.

The captioner draws it and sends it in the `captioned` event; sinks read it from there by `drawn_of`.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from functions.event import Captioned, Event
from privacy.redact import require_redacted

_SEAL = object()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A JPEG drawn from settings and outlines. Only `seal_drawing` and `drawn_of` create it."""

    jpeg: bytes
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Drawn picture is made by seal_drawing() or drawn_of(), not by hand")


def seal_drawing(jpeg: bytes) -> Drawn:
    """Mark a JPEG as drawn from settings and outlines; only `notify/captions/location.py` calls it."""
    return Drawn(jpeg, _SEAL)


def require_public(picture: object) -> None:
    """Refuse a picture that must not be published; every sink that takes both kinds calls it first.

    Raises:
        TypeError: it is neither `Redacted` nor `Drawn`.
    """
    if type(picture) is not Drawn:
        require_redacted(picture)


def drawn_of(captioned: Event) -> Drawn | None:
    """The drawn map in a `captioned` event; None if there is none.

    Raises:
        TypeError: the event is of another type.
    """
    if not isinstance(captioned, Captioned):
        raise TypeError(f"only a captioned event holds a drawn map, got {captioned.type!r}")
    return None if captioned.location is None else Drawn(captioned.location, _SEAL)
