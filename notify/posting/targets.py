"""The targets of the channel apprise: a YAML file with an address, classes and an area for each."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from functions import catalogue
from functions.event import HAZARDS, Hazard, Place
from functions.settings import Secret
from notify.posting.areas import Area

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """One group, mailbox or device that is sent alerts."""

    name: str
    """Lower case letters, digits and `-`, at most 24. It never changes: posts are kept by it."""
    url: Secret
    """Apprise's address of it, with its credentials."""
    classes: tuple[Hazard, ...] = HAZARDS
    area: Area = Area()
    languages: tuple[str, ...] = ()
    """In the order they are said; by default BONGSU_POST_LANGUAGES."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name must be 1 to 24 lower case letters, digits and -, got {self.name!r}")
        if not self.url:
            raise ValueError(f"target {self.name}: url is empty")
        if self.languages:
            catalogue.parse_languages(f"target {self.name}: languages", ",".join(self.languages))

    def wants(self, hazard: Hazard, place: Place) -> bool:
        """Whether an alert is for it."""
        return hazard in self.classes and self.area.holds(place)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    targets: tuple[Target, ...]


def read_targets(path: str) -> tuple[Target, ...]:
    """The targets in a file; `${NAME}` in an address is read from the environment.

    Raises:
        ValueError: the file cannot be read or used; the message names the target and no address.
    """
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ValueError(f"BONGSU_APPRISE_CONFIG: cannot read {path!r}: {reason}") from None
    except yaml.YAMLError as error:
        # Its text would quote the line, which may hold a credential.
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"BONGSU_APPRISE_CONFIG: {path}: not YAML{where}") from None
    try:
        found = msgspec.convert(content, _File, dec_hook=_secret).targets
    except msgspec.ValidationError as error:
        raise ValueError(f"BONGSU_APPRISE_CONFIG: {path}: {error}") from None
    names = [target.name for target in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not found:
        reason = f"two targets named {twice[0]}" if twice else "lists no target"
        raise ValueError(f"BONGSU_APPRISE_CONFIG: {path}: {reason}")
    return found


def _secret(wanted: type[Any], value: Any) -> Any:
    if wanted is not Secret or not isinstance(value, str):
        raise ValueError("must be a text")
    missing = [name for name in _VARIABLE.findall(value) if not os.environ.get(name)]
    if missing:
        raise ValueError(f"${{{missing[0]}}} is not in the environment: set {missing[0]}")
    return Secret(_VARIABLE.sub(lambda match: os.environ[match[1]], value))
