"""Every promise of the store is kept on both databases."""

from __future__ import annotations

import pytest

from tests.stores import *  # noqa: F403 - fixtures


@pytest.fixture
def database_url(any_database_url: str) -> str:
    """A file of SQLite, then a database of a server."""
    return any_database_url
