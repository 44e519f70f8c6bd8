"""Tokens of nodes: each opens the gateway to one node until it is revoked; `tokens.json` has only their hashes.

`bongsu nodes add` issues a token, `revoke` and `remove` end it, and `gateway.py` asks here whose token a request has.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from edge.errors import FleetError
from edge.state_file import locked, write_private

_PREFIX = "bongsu-node-"
"""By which a scanner for leaked secrets recognizes one."""
_KEPT = 1000
"""Revoked tokens that are remembered, so that their use is logged by the node's name."""


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """One token, without its secret.

    Attributes:
        node: whose it is.
        sha256: of the token, in hexadecimal; it has 256 random bits, so that no salt is needed.
        issued_at: when it was made.
        revoked_at: since when it opens nothing; None: it is valid.
    """

    node: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    issued_at: datetime
    revoked_at: datetime | None = None


class TokenFile:
    """`tokens.json` of one fleet; several processes may change it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokens.json"
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Token] = {}

    def issue(self, node: str) -> str:
        """Make a node's token; one that it had before is revoked.

        Returns:
            The token, which is kept nowhere here.
        """
        token = _PREFIX + secrets.token_urlsafe(32)
        made = Token(node, _hash(token), datetime.now(UTC))
        with locked(self.path):
            self._write([*self._revoked(node)[0], made])
        return token

    def revoke(self, node: str) -> int:
        """Make all tokens of a node invalid; returns how many were valid until now."""
        with locked(self.path):
            tokens, count = self._revoked(node)
            if count:
                self._write(tokens)
        return count

    def find(self, token: str) -> Token | None:
        """The token that was issued, valid or revoked; None: there was never such a token.

        Raises:
            FleetError: the file is invalid.
        """
        self._read_changes()
        return self._known.get(_hash(token))

    def _revoked(self, node: str) -> tuple[list[Token], int]:
        """All tokens, with those of a node revoked, and how many that changed."""
        now, tokens = datetime.now(UTC), self._read()
        changed = [
            msgspec.structs.replace(one, revoked_at=now) if one.node == node and one.revoked_at is None else one
            for one in tokens
        ]
        return changed, sum(one is not other for one, other in zip(changed, tokens, strict=True))

    def _write(self, tokens: list[Token]) -> None:
        revoked = [one for one in tokens if one.revoked_at is not None][-_KEPT:]
        kept = [*revoked, *(one for one in tokens if one.revoked_at is None)]
        write_private(self.path, msgspec.json.encode(kept))

    def _read_changes(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._known = {}
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._known = {one.sha256: one for one in self._read()}
            self._stamp = stamp

    def _read(self) -> list[Token]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[Token])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            raise FleetError(f"{self.path} cannot be read: {error}") from None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
