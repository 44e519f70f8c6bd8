"""The key file of an API, and callers with their roles; the guard and the sign-in use it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import structlog

from web.changed_file import ChangedFile

log = structlog.get_logger()

Role = Literal["viewer", "operator", "node"]
ROLES: tuple[Role, ...] = get_args(Role)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeyFileError(Exception):
    """The key file cannot be used; the message has the line and the fix, but no digest."""


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file. A key is 256 random bits, so its plain digest does not help to guess it."""

    name: str
    role: Role
    digest: str


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request: a key's name and role, or anonymous."""

    name: str | None = None
    role: Role | None = None


ANYBODY = Caller()


class Keyring:
    """The keys of the file; a changed file is read again, so that a key can be revoked without a restart."""

    def __init__(self, path: str) -> None:
        self._file = ChangedFile(Path(path)) if path else None
        self._keys: tuple[Key, ...] = ()

    @classmethod
    def open(cls, path: str) -> Keyring:
        """Read the file; without a path there are no keys.

        Raises:
            KeyFileError: the file cannot be read, or a line of it.
        """
        ring = cls(path)
        ring._refresh()
        return ring

    @property
    def has_operator(self) -> bool:
        """Whether any key may review incidents."""
        return any(key.role == "operator" for key in self._current())

    def find(self, key: str) -> Key | None:
        """The key with that text. It takes the same time for a wrong one as for a right one."""
        return self.find_digest(digest_of(key))

    def find_digest(self, digest: str) -> Key | None:
        """The key with that digest, as stored with a sign-in."""
        found = None
        for known in self._current():
            # No early exit, so that the time does not depend on the key.
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found

    def holds(self, key: Key) -> bool:
        """Whether a key that was found earlier still exists."""
        return key in self._current()

    def _current(self) -> tuple[Key, ...]:
        try:
            self._refresh()
        except KeyFileError as error:
            # The last valid keys stay: a half-written file must not lock anybody out in an emergency.
            log.error("keys_not_read", reason=str(error))
        return self._keys

    def _refresh(self) -> None:
        if self._file is None:
            return
        path = self._file.path
        try:
            if (content := self._file.read()) is None:
                return
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise KeyFileError(f"BONGSU_API_KEYS: cannot read {path}: {reason}") from error
        self._keys = parse_keys(text, str(path))


def parse_keys(text: str, name: str) -> tuple[Key, ...]:
    """Read `name role sha256` lines; empty lines and those that begin with # are skipped.

    Raises:
        KeyFileError: a line is none of these, or a name appears twice.
    """
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        key = _parse_line(fields)
        if key is None:
            # The line is not shown: it may be a key that was put in by mistake.
            raise KeyFileError(
                f"{name}: line {number} must be `name role sha256`, role one of {', '.join(ROLES)}: "
                "`bongsu key new NAME --role ROLE` prints one"
            )
        if key.name in keys:
            raise KeyFileError(f"{name}: line {number}: the name {key.name!r} is used twice: remove one of the two")
        keys[key.name] = key
    return tuple(keys.values())


def _parse_line(fields: list[str]) -> Key | None:
    if len(fields) != 3 or not _NAME.fullmatch(fields[0]) or not _DIGEST.fullmatch(fields[2]):
        return None
    return next((Key(fields[0], role, fields[2]) for role in ROLES if role == fields[1]), None)


def new_key(name: str, role: Role) -> tuple[str, Key]:
    """A new key: its text, which is stored nowhere, and its line for the file.

    Raises:
        ValueError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a key's name must be 1 to 64 letters, digits, dots or dashes, got {name[:80]!r}")
    text = f"bongsu_{secrets.token_urlsafe(32)}"
    return text, Key(name, role, digest_of(text))


def digest_of(secret: str) -> str:
    """SHA-256 of a key or a sign-in's token, hexadecimal: only this is ever stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
