"""`bongsu fleet`: a file describes the wanted fleet; `plan` shows the differences, `apply` makes the changes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge.command import fleet_command
from edge.fleet_file import read_fleet_file, write_fleet_file
from edge.nodes import NodeFile
from edge.oci.registry import opened
from edge.plan import FleetPlan, PlanRunner, make_plan
from edge.settings import read_settings

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def fleet() -> None:
    """Keep nodes and models as a file describes them."""


@fleet.command("plan")
@click.argument("file", type=_FILE)
@click.option("--prune", is_flag=True, help="Also remove nodes that are not in the file.")
@fleet_command
async def _plan(*, file: Path, prune: bool) -> int:
    """Show what `apply` would do, without changing anything."""
    settings = read_settings()
    async with opened(settings) as registry:
        known = NodeFile(settings.folder).read()
        plan = await make_plan(read_fleet_file(file), file.parent, known, registry, is_pruning=prune)
    for step in plan.steps:
        print(step)
    _close(plan, f"{len(plan.steps)} steps")
    return 0


@fleet.command("apply")
@click.argument("file", type=_FILE)
@click.option("--prune", is_flag=True, help="Also remove nodes that are not in the file, and clean them.")
@click.option("--accept-host-keys", is_flag=True, help="Do not ask about host keys that are not in the file.")
@fleet_command
async def _apply(*, file: Path, prune: bool, accept_host_keys: bool) -> int:
    """Change the fleet to match the file; running it again does what is left."""
    settings, wanted = read_settings(), read_fleet_file(file)

    def confirm(question: str) -> bool:
        return accept_host_keys or click.confirm(f"{question}. Is that the right machine?", default=False, err=True)

    async with opened(settings) as registry:
        known = NodeFile(settings.folder).read()
        plan = await make_plan(wanted, file.parent, known, registry, is_pruning=prune)
        runner = PlanRunner(settings, registry, file.parent, wanted, confirm)
        failures = await runner.take(plan.steps, print, lambda message: print(f"bongsu: {message}", file=sys.stderr))
    _close(plan, f"{len(plan.steps) - failures} steps taken, {failures} failed")
    return 1 if failures else 0


@fleet.command("import")
@click.argument("configuration", metavar="ServerConfig.yaml", type=_FILE)
@click.option("--hosts", type=_FILE, help="The inventory (default: the configuration's, or hosts.ini in its folder).")
@click.option("--user", help="The SSH user; EVC's files have none.")
@click.option("--project", type=_FILE, help="The user's project (default: myEVCconfig.yaml in its folder, if any).")
@fleet_command
async def _import(*, configuration: Path, hosts: Path | None, user: str | None, project: Path | None) -> int:
    """Print EVC's configuration as fleet.yaml; parts that could not be translated are listed on stderr."""
    from edge.evc import translate

    translation = translate(configuration, hosts, user, project)
    print(write_fleet_file(translation.file), end="")
    for note in translation.notes:
        print(f"bongsu: {note}", file=sys.stderr)
    return 0


def _close(plan: FleetPlan, message: str) -> None:
    for note in plan.notes:
        print(f"bongsu: {note}", file=sys.stderr)
    print(message if plan.steps else "nothing to do", file=sys.stderr)


@fleet.command("gateway")
@fleet_command
async def _gateway() -> int:
    """Let nodes pull models and report, each with its own token, until Ctrl-C."""
    from edge.gateway import serve
    from edge.settings import read_gateway_settings

    settings = read_settings()
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    await serve(settings, read_gateway_settings())
    return 0


@fleet.command("serve")
@click.option("--every", metavar="TIME", default="10s", show_default=True, help="Between two samples of a node.")
@click.option("--here", "is_here", is_flag=True, help="Make this machine a node with the shipped hazard model.")
@click.option("--once", is_flag=True, help="Sample and write once.")
@fleet_command
async def _serve(*, every: str, is_here: bool, once: bool) -> int:
    """Watch the fleet until Ctrl-C, and write status.json, which the API shows."""
    from edge.inference import parse_every
    from edge.service import FleetService, serve

    settings = read_settings()
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if once:
        await FleetService(settings, parse_every(every), is_here).run_once()
    else:
        await serve(settings, parse_every(every), is_here)
    return 0
