"""`bongsu nodes`, `bongsu models` and `bongsu fleet`: functions/cli.py finds them by name."""

from __future__ import annotations

from edge.cli_bootstrap import bootstrap
from edge.cli_deploy import deploy, rollback
from edge.cli_fleet import fleet
from edge.cli_learn import learn
from edge.cli_models import models
from edge.cli_nodes import nodes
from edge.cli_run import run
from edge.cli_trust import revoke, token
from edge.cli_watch import history, logs, prometheus, watch

models.add_command(deploy)
models.add_command(rollback)
models.add_command(run)
models.add_command(learn)
for command in (watch, history, logs, prometheus, token, revoke, bootstrap):
    nodes.add_command(command)

__all__ = ["fleet", "models", "nodes"]
