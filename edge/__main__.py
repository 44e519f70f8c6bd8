"""`python -m edge nodes …`, `models …` and `fleet …`, where bongsu is not installed as a command."""

from __future__ import annotations

import sys

import click

from edge.cli import fleet, models, nodes
from functions.cli import run_command


@click.group()
def edge() -> None:
    """Manage edge nodes and the models they run."""


edge.add_command(nodes)
edge.add_command(models)
edge.add_command(fleet)

if __name__ == "__main__":
    sys.exit(run_command(edge, sys.argv[1:], "bongsu"))
