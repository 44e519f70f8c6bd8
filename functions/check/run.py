"""Runs the rules over one function, one after the other, each from empty queues and with a replica that lives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from functions.broker import BrokerError
from functions.check.proxy import BrokerProxy
from functions.check.rules import RULES, BrokenRuleError, Rule, Setup
from functions.check.site import open_site
from functions.check.subject import Subject


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one rule holds."""

    rule: str
    problem: str = ""
    """What was seen instead; empty where it holds."""


async def check(
    command: str,
    url: str,
    *,
    queue: str,
    publishes: str,
    retry: dict[str, Any],
    reject: dict[str, Any],
    log: Path,
    rules: Sequence[Rule] = RULES,
) -> AsyncIterator[Verdict]:
    """Try a function.

    Args:
        command: a command line or an image.
        url: of a RabbitMQ for this check alone.
        queue: what the function reads, such as `fire.lookout`.
        publishes: the type that it answers with.
        retry: changes to an event that have it retried.
        reject: changes to an event that have it rejected.
        log: the file for what the function prints.
        rules: which, in this order.

    Yields:
        A verdict for each rule, as soon as it is known.

    Raises:
        SubjectError: the function cannot be started.
        BrokerError: RabbitMQ cannot be used.
    """
    proxy = BrokerProxy(url)
    async with open_site(url, queue, publishes) as site, _open(proxy) as through:
        subject = Subject(command, through, log)
        setup = Setup(site, subject, proxy, retry, reject)
        try:
            for rule in rules:
                await site.clear()
                await subject.start()
                yield await _try(rule, setup)
        finally:
            await subject.kill()


async def _try(rule: Rule, setup: Setup) -> Verdict:
    name = (rule.__doc__ or "").strip()
    try:
        await rule(setup)
    except BrokenRuleError as error:
        problem = str(error) if setup.subject.is_running else f"{error} (it has ended)"
        # What it still does about this rule must not be taken for what it does about the next.
        await setup.subject.kill()
        return Verdict(name, problem)
    except BrokerError as error:
        return Verdict(name, f"the broker failed: {error}")
    return Verdict(name)


@contextlib.asynccontextmanager
async def _open(proxy: BrokerProxy) -> AsyncIterator[str]:
    await proxy.open()
    try:
        yield proxy.url
    finally:
        await proxy.cut()
