"""Events, pictures and open stores for the tests of the functions."""

from tests.stores import *  # noqa: F403 - fixtures
