"""`bongsu models learn`: from reviewed alerts to a better version on the nodes, in one command."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from edge.command import choose, fleet_command
from edge.nodes import NodeFile
from edge.oci.manifest import check_name
from edge.oci.registry import opened
from edge.settings import read_settings


@click.command()
@click.argument("name")
@click.option("--from", "source", required=True, metavar="feedback|DIR",
              help="Reviewed alerts of this machine's database, or an export of them.")  # fmt: skip
@click.option("--with", "more", multiple=True, type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Corpus that is added, with its splits; may be repeated.")  # fmt: skip
@click.option("--trainer", metavar="COMMAND", help="Reads {corpus} and writes the ONNX file {weights}.")
@click.option("--nodes", "selector", metavar="SELECTOR", default="all", show_default=True, help="That get it.")
@click.option("--canary", type=click.IntRange(0), default=1, show_default=True, help="So many nodes first.")
@click.option("--bursts", type=click.IntRange(0), default=0, help="Watch those for so many bursts before the rest.")
@click.option("--version", help="Of the new model (default: the date and time).")
@click.option("--no-deploy", is_flag=True, help="Stop when it is in the registry.")
@click.option("--new", "is_new", is_flag=True, help="Begin again, even if a run was stopped in the middle.")
@fleet_command
async def learn(
    *,
    name: str,
    source: str,
    more: tuple[Path, ...],
    trainer: str | None,
    selector: str,
    canary: int,
    bursts: int,
    version: str | None,
    no_deploy: bool,
    is_new: bool,
) -> int:
    """Train on reviewed alerts, and deploy what is better than the version in service.

    A run that was stopped goes on when the command is repeated.
    """
    from edge.learn.run import REPORT_FILE, LearningRun, Options, begin, find_unfinished, version_in_service

    settings, model = read_settings(), check_name(name)
    nodes = [node for node in choose(NodeFile(settings.folder).read(), selector) if node.is_reached]
    found = None if is_new else find_unfinished(settings, model)
    if found is None:
        options = Options(
            model=model,
            source=source if source == "feedback" else str(Path(source).absolute()),
            more=[str(path.absolute()) for path in more],
            trainer=trainer,
            version=version or f"{datetime.now(UTC):%Y.%m.%d-%H%M%S}",
            canary=canary if not bursts else max(1, canary),
            bursts=bursts,
            is_deployed=not no_deploy,
        )
        found = begin(settings, options, version_in_service(nodes, model))
    else:
        print(f"going on with the run in {found[0]}, as it was begun; --new begins again", file=sys.stderr)
    folder, state = found
    async with opened(settings) as registry:
        run = LearningRun(settings, registry, folder, state, lambda line: print(line, file=sys.stderr, flush=True))
        outcome = await run.run([node for node in nodes if model in node.models])
    print(f"{outcome}\nreport: {folder / REPORT_FILE}")
    return 0
