"""`bongsu nodes bootstrap`: prepares a Debian machine as a node with Ansible, or shows what that would change."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge.command import fleet_command
from edge.nodes import RUNTIMES, NodeFile
from edge.settings import read_settings

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("bootstrap")
@click.argument("name")
@click.option("--check", "is_check", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--remove", "is_removal", is_flag=True, help="Take it off again; packages stay.")
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="none",
    show_default=True, help="What runs containers there.",
)  # fmt: skip
@click.option("--firewall/--no-firewall", default=True, show_default=True, help="Let in SSH and what is needed alone.")
@click.option("--time/--no-time", "keeps_time", default=True, show_default=True, help="Synchronise the clock.")
@click.option("--metrics-from", metavar="NETWORK", multiple=True, help="Who may reach node-exporter; may be repeated.")
@click.option("--become-password-file", type=_FILE, help="The password of sudo, if the user needs one.")
@click.option("--k3s-server", metavar="URL", default="", help="Of the cluster that an agent of k3s joins.")
@click.option("--k3s-token-file", type=_FILE, help="The token that lets it join.")
@click.option("--k3s-program", metavar="URL", default="", help="Where k3s itself comes from.")
@click.option("--k3s-sha256", metavar="HEX", default="", help="The digest that it must have.")
@fleet_command
async def bootstrap(
    *,
    name: str,
    is_check: bool,
    is_removal: bool,
    runtime: str,
    firewall: bool,
    keeps_time: bool,
    metrics_from: tuple[str, ...],
    become_password_file: Path | None,
    k3s_server: str,
    k3s_token_file: Path | None,
    k3s_program: str,
    k3s_sha256: str,
) -> int:
    """Prepare a node: container runtime, certificate of the registry, firewall, time, reports."""
    from edge import bootstrap as room

    settings = read_settings()
    node = NodeFile(settings.folder).get(name)
    k3s = None
    if runtime == "k3s":
        token = k3s_token_file.read_text().strip() if k3s_token_file is not None else ""
        k3s = {"server": k3s_server, "token": token, "program": k3s_program, "sha256": k3s_sha256}
    wanted = room.Wanted(runtime, firewall, keeps_time, metrics_from, k3s)
    password = become_password_file.absolute() if become_password_file is not None else None

    def show(step: room.Step) -> None:
        if step.state == "note":
            print(f"left out: {step.step}", file=sys.stderr)
        elif step.state == "changed":
            print(f"{'would change' if is_check else 'changed'}: {step.step}")

    run = room.Run(show, is_check, password)
    count = await (room.undo(settings, node, run) if is_removal else room.bootstrap(settings, node, wanted, run))
    print(f"{name}: {count} steps {'would change it' if is_check else 'changed it'}" if count else f"{name}: no change")
    return 0
