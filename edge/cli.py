"""`bongsu nodes` and `bongsu models`: functions/cli.py finds them by name."""

from __future__ import annotations

from edge.cli_deploy import deploy, rollback
from edge.cli_models import models
from edge.cli_nodes import nodes

models.add_command(deploy)
models.add_command(rollback)

__all__ = ["models", "nodes"]
