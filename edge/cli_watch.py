"""`bongsu nodes watch`, `history`, `logs` and `prometheus`: the state of nodes, now and in the past."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from edge.command import describe_bytes, fleet_command, print_table
from edge.inference import parse_every
from edge.nodes import NodeFile, check_node_name, select
from edge.settings import read_settings
from edge.watch import History, Sample, sample_nodes

_HEADER = ["NODE", "AT", "CPU", "MEMORY FREE", "DISK FREE", "TEMP", "GPU", "RX/TX PER S", "LATENCY", "CLOCK", "STATE"]


@click.command()
@click.option("--nodes", "selector", metavar="SELECTOR", default="all", help="Only these.")
@click.option("--every", metavar="TIME", default="10s", show_default=True, help="Time between two samples.")
@click.option("--once", is_flag=True, help="One sample; the status is 1 if something is wrong.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each sample.")
@fleet_command
async def watch(*, selector: str, every: str, once: bool, as_json: bool) -> int:
    """Show the state of nodes repeatedly, and keep the samples for `history`."""
    settings, every_s = read_settings(), parse_every(every)
    history = History(settings.folder)
    while True:
        begun = time.monotonic()
        samples = await sample_nodes(select(NodeFile(settings.folder).read().values(), selector))
        for sample in samples:
            history.add(sample)
        _show(samples, as_json, is_redrawn=not once and sys.stdout.isatty())
        if once:
            return 1 if any(sample.alerts for sample in samples) else 0
        await asyncio.sleep(max(0.0, every_s - (time.monotonic() - begun)))


@click.command()
@click.argument("name")
@click.option("--last", "count", type=click.IntRange(1), default=20, show_default=True, help="Number of samples.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each sample.")
@fleet_command
async def history(*, name: str, count: int, as_json: bool) -> int:
    """Show the samples of a node that `watch` has kept, even of a removed node."""
    _show(History(read_settings().folder).last(check_node_name(name), count), as_json)
    return 0


@click.command()
@click.argument("name")
@click.option("--lines", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Number of lines.")
@click.option("--unit", help="Only this systemd unit.")
@fleet_command
async def logs(*, name: str, lines: int, unit: str | None) -> int:
    """Print the end of a node's journal."""
    from edge import ssh

    node = NodeFile(read_settings().folder).get(name)
    command = [
        "journalctl",
        "--no-pager",
        "--output=short-iso",
        f"--lines={lines}",
        *([f"--unit={unit}"] if unit else []),
    ]
    for line in (await ssh.run(node, command)).splitlines():
        print("".join(c if c.isprintable() or c == "\t" else " " for c in line))
    return 0


@click.command()
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), required=True, help="Prometheus' folder.")
@click.option("--port", type=click.IntRange(1, 65535), default=9100, show_default=True, help="Of node-exporter.")
@fleet_command
async def prometheus(*, into: Path, port: int) -> int:
    """Write the nodes as targets for Prometheus, and their alerts."""
    from edge.prometheus import write_files

    for path in write_files(into, list(NodeFile(read_settings().folder).read().values()), port):
        print(path)
    return 0


def _show(samples: Sequence[Sample], as_json: bool, is_redrawn: bool = False) -> None:
    if as_json:
        for sample in samples:
            print(msgspec.json.encode({**msgspec.to_builtins(sample), "alerts": sample.alerts}).decode(), flush=True)
        return
    if is_redrawn:
        print("\x1b[H\x1b[2J", end="")
    print_table(_HEADER, [_row(sample) for sample in samples])
    for sample in samples:
        if sample.error:
            print(f"bongsu: {sample.error}", file=sys.stderr)


def _row(sample: Sample) -> list[str]:
    now, at = sample.health, sample.at.strftime("%H:%M:%S")
    if now is None:
        return [sample.node, at, *["-"] * 8, " ".join(sample.alerts)]
    return [
        sample.node,
        at,
        f"{now.cpu:.0%}",
        f"{describe_bytes(now.memory_free_bytes)} of {describe_bytes(now.memory_bytes)}",
        f"{describe_bytes(now.disk_free_bytes)} of {describe_bytes(now.disk_bytes)}",
        "-" if now.temperature is None else f"{now.temperature:.0f} C",
        "-" if now.gpu is None else f"{now.gpu.used:.0%} {now.gpu.temperature:.0f} C",
        f"{describe_bytes(int(now.received_bytes_per_s))}/{describe_bytes(int(now.sent_bytes_per_s))}",
        "-" if sample.latency_s is None else f"{1000 * sample.latency_s:.1f} ms",
        "-" if sample.drift_s is None else f"{sample.drift_s:+.2f} s",
        " ".join(sample.alerts) or "ok",
    ]
