"""`python -m edge nodes …` and `python -m edge models …`, where bongsu is not installed as a command."""

from __future__ import annotations

import click

from edge.cli import models, nodes


@click.group()
def edge() -> None:
    """The fleet: edge nodes and the models they run."""


edge.add_command(nodes)
edge.add_command(models)

if __name__ == "__main__":
    edge(prog_name="bongsu")
