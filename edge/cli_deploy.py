"""`bongsu models deploy` and `rollback` change which version runs on which node."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edge.artefact import read_version
from edge.command import choose, describe_bytes, fleet_command
from edge.errors import FleetError
from edge.nodes import NodeFile
from edge.oci.manifest import check_name, split_reference
from edge.oci.registry import opened
from edge.progress import ProgressView
from edge.settings import read_settings

if TYPE_CHECKING:
    from edge.deploy import Outcome


@click.command()
@click.argument("reference", metavar="NAME:VERSION")
@click.option("--nodes", "selector", metavar="SELECTOR", required=True, help="Names, region=Seoul, KEY=VALUE, or all.")
@click.option("--canary", type=click.IntRange(0), default=0, help="So many nodes first; the rest if those succeed.")
@click.option("--bursts", type=click.IntRange(0), default=0, help="Watch those for so many bursts before the rest.")
@click.option("--verdicts", type=click.IntRange(0), default=0, help="And until operators judged so many alarms.")
@click.option("--within", type=click.FloatRange(0.01), default=30.0, show_default=True, help="Minutes for each.")
@click.option("--max-parallel", type=click.IntRange(1), default=4, show_default=True, help="So many nodes at a time.")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="So many versions stay on a node.")
@click.option("--allow-unsigned", is_flag=True, help="Take a version that no trusted key signed.")
@fleet_command
async def deploy(
    *,
    reference: str,
    selector: str,
    canary: int,
    bursts: int,
    verdicts: int,
    within: float,
    max_parallel: int,
    keep: int,
    allow_unsigned: bool,
) -> int:
    """Bring a version to nodes, verify it there, and put it in use in one step."""
    from edge.canary import Watch
    from edge.deploy import Deployer, Plan  # asyncssh costs half a second, and most commands need none
    from edge.signing import read_public_keys, read_signatures, verify

    if (bursts or verdicts) and not canary:
        raise click.UsageError("--bursts and --verdicts watch canaries: say --canary 1, too")
    settings = read_settings()
    chosen = choose(NodeFile(settings.folder).read(), selector)
    trusted = read_public_keys(settings.folder / "trusted")
    async with opened(settings) as registry:
        version = await read_version(registry, *split_reference(reference))
        signatures = await read_signatures(registry, version.name, version.digest)
        if not allow_unsigned:
            verify(signatures, version.digest, trusted)
        is_watched = bool(bursts or verdicts)
        keep = max(keep, 2) if is_watched else keep  # to go back to
        watch = Watch(bursts, verdicts, within * 60) if is_watched else None
        plan = Plan(version, signatures, trusted, allow_unsigned, keep, max_parallel, canary, watch)
        view = ProgressView([node.name for node in chosen])
        outcomes = await Deployer(settings, registry, view).deploy(plan, chosen)
    for outcome in outcomes:
        if outcome.error is None:
            print(f"{outcome.node}: {reference} in use, {describe_bytes(outcome.moved_bytes)} moved")
    return _report(outcomes)


@click.command()
@click.argument("name")
@click.option("--nodes", "selector", metavar="SELECTOR", required=True, help="Names, region=Seoul, KEY=VALUE, or all.")
@fleet_command
async def rollback(*, name: str, selector: str) -> int:
    """Activate the previous version again on nodes; nothing is transferred."""
    from edge.deploy import Deployer

    settings = read_settings()
    chosen = choose(NodeFile(settings.folder).read(), selector)
    if not any(check_name(name) in node.models for node in chosen):
        raise FleetError(f"no node of {selector!r} has {name}: bongsu nodes list")
    async with opened(settings) as registry:
        outcomes = await Deployer(settings, registry).roll_back(name, chosen)
    for outcome, version in outcomes:
        if outcome.error is None:
            print(f"{outcome.node}: {name}:{version} in use")
    return _report([outcome for outcome, _ in outcomes])


def _report(outcomes: Sequence[Outcome]) -> int:
    """Print one line for each failure; returns the exit status: 0, or 1 if a node failed."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        message = outcome.error or ""
        print(f"bongsu: {message if outcome.node in message else f'node {outcome.node!r}: {message}'}", file=sys.stderr)
    return 1 if failed else 0
