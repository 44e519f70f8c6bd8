"""Events, pictures and open stores for the tests of redaction."""

from tests.stores import *  # noqa: F403 - fixtures
