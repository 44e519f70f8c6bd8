"""Every promise of the store is kept on both databases."""

from __future__ import annotations

import pytest

from tests.stores import (  # noqa: F401 - the fixtures of these tests
    any_database_url,
    environment,
    keys,
    make_event,
    mariadb,
    mysql_url,
    serve,
    snapshots,
    store,
    street,
)


@pytest.fixture
def database_url(any_database_url: str) -> str:  # noqa: F811 - the fixture above
    """A file of SQLite, then a database of a server."""
    return any_database_url
