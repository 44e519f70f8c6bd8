"""Every guarantee of the store holds on both databases."""

from __future__ import annotations

import pytest

from tests.stores import *  # noqa: F403 - fixtures


@pytest.fixture
def database_url(any_database_url: str) -> str:
    """An SQLite file, then a database on a server."""
    return any_database_url
