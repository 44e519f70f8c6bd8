"""`bongsu run`: parses its arguments and runs the pipeline; functions/cli.py finds it by name."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from local.checks import Options, RunError, warn_of_open_host
from local.runner import run as run_relay

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--cameras", type=_PATH, metavar="FILE", help="Your cameras (default: cameras.yaml).")
@click.option("--demo", is_flag=True, help="Use the demo's cameras, served over RTSP from its clips.")
@click.option(
    "--state",
    type=_PATH,
    default=Path("state"),
    show_default=True,
    metavar="DIR",
    help="Folder for databases, pictures and logs.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the map is served on.")
@click.option("--port", type=int, default=8080, show_default=True, help="Port the map is served on.")
@click.option(
    "--keda", type=_PATH, metavar="DIR", help="Scale these workloads alone (default: Bongsu's, and yours in keda)."
)
@click.option(
    "--sessions/--no-sessions",
    default=True,
    show_default=True,
    help="Serve sessions too, ten ports above the map or on BONGSU_SESSIONS_PORT.",
)
@click.option(
    "--fleet/--no-fleet",
    default=True,
    show_default=True,
    help="Make this machine a node, and run the models that are deployed to it.",
)
def run(
    *,
    cameras: Path | None,
    demo: bool,
    state: Path,
    host: str,
    port: int,
    keda: Path | None,
    sessions: bool,
    fleet: bool,
) -> int:
    """Run the whole pipeline on this machine.

    Cameras, detector, functions and map are started, and Ctrl-C stops them.
    """
    options = Options(cameras, demo, state, host, port, keda, sessions, fleet)
    try:
        if warning := warn_of_open_host(options.host):
            print(warning, file=sys.stderr)
        asyncio.run(run_relay(options))
    except RunError as error:
        print(f"bongsu run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # only before anything is started: after that a signal is a request to stop
        return 130
    return 0
