"""Tokens and ids of sessions, derived from a secret that all receive servers of a cluster share.

A token is derived from its session's id, so that no token is stored and every receive server can check one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from functions.settings import SettingsError

_BYTES = 32


class Tokens:
    """Makes and checks them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def open(cls, path: Path) -> Tokens:
        """Read the secret, or create it if there is none yet.

        Raises:
            SettingsError: it cannot be read or written, or is too short.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                secret = path.read_bytes()
            else:
                with os.fdopen(file, "wb") as opened:
                    opened.write(secret := secrets.token_bytes(_BYTES))
        except OSError as error:
            raise SettingsError(f"the secret of sessions at {path}: {error.strerror}") from None
        if len(secret) < _BYTES:
            raise SettingsError(
                f"the secret of sessions at {path} has {len(secret)} bytes, {_BYTES} are needed: remove it"
            )
        return cls(secret)

    def new_id(self) -> str:
        """An id that nobody can guess."""
        return secrets.token_hex(10)

    def id_of(self, owner: str, idempotency_key: str) -> str:
        """An id that is the same for an owner and key on every receive server."""
        return self._derive("id", owner, idempotency_key)[:20]

    def token_of(self, session_id: str) -> str:
        """The token of a session."""
        return self._derive("token", session_id)

    def is_token(self, session_id: str, given: str) -> bool:
        """Whether this is that session's token; takes the same time for a wrong one."""
        return hmac.compare_digest(self.token_of(session_id).encode(), given.encode("utf-8", "surrogatepass"))

    def _derive(self, *parts: str) -> str:
        # With their lengths, or two different pairs of parts could give the same bytes.
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
