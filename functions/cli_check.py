"""`bongsu function check`: which rules a function in any language keeps."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec

from functions.command import in_one_line
from functions.settings import load
from functions.topology import queue as queue_of

_RETRY, _REJECT = '{"place": {"name": ""}}', '{"frame": null}'


@click.command("check")
@click.argument("command", metavar="COMMAND_OR_IMAGE")
@click.option("--queue", default="fire.lookout", show_default=True, help="The queue that the function reads.")
@click.option("--publishes", default="lookout", show_default=True, help="Type of event that it answers a fire with.")
@click.option("--retry", default=_RETRY, show_default=True, metavar="JSON", help="Changes that have a fire retried.")
@click.option("--reject", default=_REJECT, show_default=True, metavar="JSON", help="Changes that have it rejected.")
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), help="File for what the function prints.")
@in_one_line
def check(*, command: str, queue: str, publishes: str, retry: str, reject: str, log: Path | None) -> int:
    """Start a function against the RabbitMQ of BONGSU_BROKER_URL, and print which rules it keeps.

    That RabbitMQ must be for this check alone. COMMAND_OR_IMAGE is a command line in quotes, or the name of an image.
    """
    url = load().broker_url
    if not url.startswith(("amqp://", "amqps://")):
        raise click.ClickException(f"BONGSU_BROKER_URL must be amqp://…, the URL of a RabbitMQ, got {url!r}")
    queue_of(queue)
    changes = {"retry": _changes("--retry", retry), "reject": _changes("--reject", reject)}
    if log is None:
        descriptor, name = tempfile.mkstemp(prefix="bongsu-check-", suffix=".log")
        os.close(descriptor)
        log = Path(name)
    return asyncio.run(_check(command, url, log, queue=queue, publishes=publishes, **changes))


async def _check(command: str, url: str, log: Path, **given: Any) -> int:
    from functions.check.run import check as run
    from functions.check.subject import SubjectError

    broken = total = 0
    try:
        async for verdict in run(command, url, log=log, **given):
            total += 1
            broken += bool(verdict.problem)
            print(f"{'FAIL' if verdict.problem else 'ok':<5} {verdict.rule}", flush=True)
            if verdict.problem:
                print(f"      {verdict.problem}", flush=True)
    except SubjectError as error:
        raise click.ClickException(str(error)) from error
    print(f"{total - broken} of {total} rules hold; what the function printed is in {log}")
    return 1 if broken else 0


def _changes(option: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise click.ClickException(f"{option} must be a JSON object such as {_RETRY}: {error}") from None
