"""From what was found to entries of `cameras.yaml`: ids, places, what is there already, and the file itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from motion.camera import Place
from motion.edit import CamerasText
from motion.problems import line
from motion.secrets import add_secrets, secrets_path
from motion.setup.credentials import Vault

PLACE_FORM = "latitude, longitude and perhaps a name, as in 37.5663, 126.9779, City Hall"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A camera that could be added; its URLs hold variables for all that is secret."""

    id: str
    url: str
    detect_url: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of its entry, such as masks."""
    notes: tuple[str, ...] = ()
    """Comments to write above it."""


@dataclass(frozen=True, slots=True)
class Written:
    """What went into the file."""

    added: tuple[str, ...]
    for_later: tuple[str, ...]
    """Written as comments, for they have no place yet."""
    variables: tuple[str, ...]
    """New in the file of secrets."""


def parse_place(text: str, name: str) -> dict[str, Any]:
    """`lat, lon[, name]` as the `place` of an entry; `name` stands in for a missing one.

    Raises:
        ValueError: it has another form, or a coordinate is out of range; one line with the fix.
    """
    lat, _, rest = text.partition(",")
    lon, _, given = rest.partition(",")
    try:
        found = {"lat": float(lat), "lon": float(lon), "name": given.strip() or name}
    except ValueError:
        raise ValueError(f"a place must be {PLACE_FORM}, got {text.strip()!r}") from None
    try:
        Place.model_validate(found)
    except ValidationError as error:
        raise ValueError(line(Place, error.errors(include_url=False)[0])) from None
    return found


def unused_id(wanted: str, taken: Iterable[str]) -> str:
    """An id made of a name: what may not stand in one becomes a dash, a number tells equal ones apart."""
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9_.]+", "-", plain).strip("-._")[:56] or "camera"
    used = set(taken)
    return next(name for n in range(1, 100_000) if (name := stem if n == 1 else f"{stem}-{n}") not in used)


def same_stream(url: str) -> str:
    """What two URLs of one stream have in common: the login and the case of the host do not count."""
    bare = re.sub(r"^(\w+://)[^/?#]*@", r"\1", url)
    try:
        parts = urlsplit(bare)
        port = parts.port or (322 if parts.scheme == "rtsps" else 554)
    except ValueError:
        return bare
    return f"{parts.hostname}:{port}{parts.path}?{parts.query}" if parts.hostname else bare


def known_streams(text: CamerasText) -> dict[str, str]:
    """The id of each camera that the file has, by its streams."""
    return {
        same_stream(str(entry[key])): str(entry.get("id"))
        for entry in text.entries
        for key in ("url", "detect_url")
        if entry.get(key)
    }


def write(
    file: Path, text: CamerasText, proposals: Sequence[Proposal], place_of: Callable[[Proposal], Any], vault: Vault
) -> Written:
    """Add the proposals to the file, and what is new in the vault to the file of secrets beside it.

    Args:
        file: the file of cameras.
        text: what it holds now.
        proposals: the cameras to add.
        place_of: gives the place of one; None: it is written as a comment, to be completed.
        vault: the variables of their URLs.

    Raises:
        EditError: the file cannot be changed.
        SecretsError: the file of secrets that is there cannot be used.
        OSError: the file of secrets cannot be written.
    """
    added: list[str] = []
    later: list[str] = []
    for proposal in proposals:
        place = place_of(proposal)
        entry = {"id": proposal.id, "url": proposal.url}
        if proposal.detect_url:
            entry["detect_url"] = proposal.detect_url
        shown = place or {"lat": "LATITUDE", "lon": "LONGITUDE", "name": proposal.id}
        notes = proposal.notes if place else (*proposal.notes, "Fill in the place and remove the # from these lines:")
        text.add({**entry, "place": shown, **proposal.fields}, notes, is_comment=not place)
        (added if place else later).append(proposal.id)
    # The passwords go first: entries without theirs would have motion refuse the whole file.
    if vault.new:
        add_secrets(secrets_path(file), vault.new)
    text.save(file)
    return Written(tuple(added), tuple(later), tuple(vault.new))
