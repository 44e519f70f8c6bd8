"""Events, pictures and open stores for the tests of redaction."""

from tests.stores import (  # noqa: F401 - the fixtures of these tests
    any_database_url,
    database_url,
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
