"""Keeps user names and passwords out of `cameras.yaml`: a variable stands there, the value goes to `cameras.env`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from motion.secrets import lookup

_URL = re.compile(r"(rtsps?://)(?:([^/?#]*)@)?(.*)", re.IGNORECASE | re.DOTALL)
# Some firmware has the password, or a hash that serves as one, in the path: /user=admin_password=tlJwpbo6_channel=1
_IN_PATH = re.compile(r"((?:password|passwd|pwd|pass)=)([^&/?#_${}]+)", re.IGNORECASE)


class Vault:
    """Gives each user name and password its variables; `new` holds those that are not stored yet."""

    def __init__(self, stored: Mapping[str, str]) -> None:
        """Start with what the file of secrets holds; the environment goes before it, as it does for motion."""
        self._stored = stored
        self.new: dict[str, str] = {}

    def with_login(self, url: str, user: str, password: str) -> str:
        """The URL with variables for this user and password, given in the clear, in place of any that it has."""
        found = _URL.fullmatch(url)
        if found is None or not user:
            return self.without_password(url)
        user, password = quote(user, safe=""), quote(password, safe="")
        names = self._login(user, password) if password else "${" + self._one("CAMERA", "_USER", user) + "}"
        return found[1] + names + "@" + self._path(found[3])

    def without_password(self, url: str) -> str:
        """The URL with variables in place of the user name and password that stand in it."""
        found = _URL.fullmatch(url)
        if found is None or found[2] is None:
            return url if found is None else found[1] + self._path(found[3])
        user, colon, password = found[2].partition(":")
        if not colon or not password or "${" in password:
            return found[1] + found[2] + "@" + self._path(found[3])
        if "${" in user:
            return found[1] + user + ":${" + self._one("CAMERA", "_PASSWORD", password) + "}@" + self._path(found[3])
        return found[1] + self._login(user, password) + "@" + self._path(found[3])

    def _login(self, user: str, password: str) -> str:
        for number in range(1, 10_000):
            stem = "CAMERA" if number == 1 else f"CAMERA_{number}"
            known = [self._value(stem + "_USER"), self._value(stem + "_PASSWORD")]
            if known in ([user, password], [None, None]):
                if known == [None, None]:
                    self.new |= {stem + "_USER": user, stem + "_PASSWORD": password}
                return "${" + stem + "_USER}:${" + stem + "_PASSWORD}"
        raise AssertionError("more logins than cameras")

    def _path(self, rest: str) -> str:
        return _IN_PATH.sub(lambda part: part[1] + "${" + self._one("CAMERA_PATH", "_PASSWORD", part[2]) + "}", rest)

    def _one(self, stem: str, end: str, value: str) -> str:
        for number in range(1, 10_000):
            name = f"{stem}{end}" if number == 1 else f"{stem}_{number}{end}"
            if self._value(name) in (value, None):
                if self._value(name) is None:
                    self.new[name] = value
                return name
        raise AssertionError("more passwords than cameras")

    def _value(self, name: str) -> str | None:
        return self.new.get(name) or lookup(name, self._stored)
