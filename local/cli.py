"""`bongsu run`: reads its arguments and runs the relay; functions/cli.py finds it by name."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from local.runner import Options, RunError, warn_of_open_host
from local.runner import run as run_relay


def run(arguments: list[str]) -> int:
    """Run the relay on this machine until it is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="bongsu run",
        description="Run the whole relay on this machine: cameras, detector, functions, map. Ctrl-C stops it.",
    )
    parser.add_argument("--cameras", type=Path, metavar="FILE", help="your cameras (default: cameras.yaml)")
    parser.add_argument("--demo", action="store_true", help="use the demo's cameras, served over RTSP from its clips")
    parser.add_argument("--state", type=Path, default=Path("state"), metavar="DIR", help="where all is kept (state)")
    parser.add_argument("--host", default="127.0.0.1", help="address the map is served on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port the map is served on (8080)")
    parser.add_argument("--keda", type=Path, metavar="DIR", help="the scaled workloads (default: keda)")
    given = parser.parse_args(arguments)
    options = Options(given.cameras, given.demo, given.state, given.host, given.port, given.keda)
    try:
        if warning := warn_of_open_host(options.host):
            print(warning, file=sys.stderr)
        asyncio.run(run_relay(options))
    except RunError as error:
        print(f"bongsu run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was started; from then on a signal is a request to stop
        return 130
    return 0
