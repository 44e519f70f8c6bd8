"""Shortens errors and foreign texts to one line, and removes addresses, which may hold a secret."""

from __future__ import annotations

import re

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
"""An address within a text, to its end."""
_LONGEST = 300


def one_line(text: object) -> str:
    """The text of an error, on one line of at most 300 characters."""
    return " ".join(str(text).split())[:_LONGEST]
