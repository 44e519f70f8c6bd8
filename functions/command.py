"""Shared by the commands of `bongsu`: errors on one line, and a broker for one action."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

import click

from functions.broker import Broker, BrokerError, connect
from functions.function import DeclarationError
from functions.settings import SettingsError, load

_P = ParamSpec("_P")


def in_one_line(call: Callable[_P, int]) -> Callable[_P, int]:
    """Print errors that a user can fix as one line on stderr."""

    @functools.wraps(call)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return call(*args, **kwargs)
        except (BrokerError, DeclarationError, SettingsError, ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return called


def with_broker(action: Callable[[Broker], Awaitable[int]]) -> int:
    """Run an action on the broker of the settings, and return its exit status.

    Raises:
        BrokerError: the broker cannot be reached, or the action failed there.
        SettingsError: a variable of the environment has an invalid value.
    """

    async def act() -> int:
        broker = await connect(load().broker_url)
        try:
            return await action(broker)
        finally:
            await broker.close()

    return asyncio.run(act())
