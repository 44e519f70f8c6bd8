"""Events, pictures and open stores for the tests of the API."""

from tests.stores import *  # noqa: F403 - fixtures
