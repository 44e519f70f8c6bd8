"""`bongsu nodes token` and `revoke`: what a node may do in the fleet, and how one that is stolen is shut out."""

from __future__ import annotations

import sys

import click

from edge.command import fleet_command
from edge.settings import read_settings


@click.command("token")
@click.argument("name")
@fleet_command
async def token(*, name: str) -> int:
    """Give a node a new token for the gateway; its old one opens nothing any more."""
    from edge.trust import renew_token

    await renew_token(read_settings(), name)
    print(f"{name} has a new token")
    return 0


@click.command("revoke")
@click.argument("name")
@fleet_command
async def revoke(*, name: str) -> int:
    """Shut out a node that was stolen, at once and without asking it; prints what is left to change elsewhere."""
    from edge import trust

    left = trust.revoke(read_settings(), name)
    print(f"{name} is shut out: its token is revoked, and nothing connects to it any more")
    for line in left:
        print(f"left to do: {line}", file=sys.stderr)
    return 0
