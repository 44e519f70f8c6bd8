"""How errors and texts from elsewhere are told: on one line, and with no address in them that may hold a secret."""

from __future__ import annotations

import re

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
"""An address within a text, to its end."""
_LONGEST = 300


def one_line(said: object) -> str:
    """What an error or a text says, on one line of at most 300 characters."""
    return " ".join(str(said).split())[:_LONGEST]
