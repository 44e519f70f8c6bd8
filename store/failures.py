"""Errors of the database, what they mean for the caller, and retries; the whole package uses it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import structlog
from prometheus_client import Counter
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from functions.backoff import backoff_s

log = structlog.get_logger()

retries_total = Counter("bongsu_store_retries_total", "Transactions retried because the database rolled them back")

_RETRY_S = 6.0
# Server errors of MySQL and MariaDB: too many connections, shutting down, lock wait timeout, deadlock, killed; client
# errors: cannot connect, gone away, connection lost.
_PASSING = {1040, 1203, 1053, 1205, 1213, 1317, 1927, 2002, 2003, 2006, 2013, 2014, 2055}

P = ParamSpec("P")
R = TypeVar("R")


class StoreError(Exception):
    """The database cannot be used now, or not with this URL; the message says what to change. Safe to retry."""


class StoreUrlError(StoreError):
    """The URL itself is wrong: a retry cannot help."""


class PassingError(StoreError):
    """The database rolled the transaction back or dropped the connection: a retry may succeed."""


class SchemaError(StoreError):
    """The tables have another schema version; the message names the command that upgrades them."""


def persistent(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Retry a method for some seconds while deadlocks, lock timeouts or lost connections make it fail.

    The whole method must be idempotent: if only the reply to its commit was lost, it has already taken effect.
    """

    @functools.wraps(method)
    async def try_again(*args: P.args, **kwargs: P.kwargs) -> R:
        begun, attempt = time.monotonic(), 0
        while True:
            try:
                return await method(*args, **kwargs)
            except PassingError as error:
                attempt += 1
                wait_s = backoff_s(attempt, first_s=0.05, longest_s=1.0, jitter=0.5)
                if time.monotonic() + wait_s - begun > _RETRY_S:
                    raise
                retries_total.inc()
                log.debug("transaction_retried", method=method.__name__, attempt=attempt, reason=str(error))
            await asyncio.sleep(wait_s)

    return try_again


def is_passing(error: Exception) -> bool:
    """Whether a retry may succeed."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, ConnectionError)
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if code == "database is locked":
        return True
    # A MySQL connection that broke between two statements has code 0.
    return error.connection_invalidated or code in _PASSING or (code == 0 and "mysql" in type(error.orig).__module__)


def explain(url: URL, error: Exception) -> str:
    """A database's error in one line, without the password."""
    cause = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    name = url.render_as_string(hide_password=True)
    return f"database {name}: {' '.join(cause.split())}: check BONGSU_DATABASE_URL, free space and rights"
