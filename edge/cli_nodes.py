"""`bongsu nodes`: registers, shows, labels, drains and removes machines."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from edge import audit
from edge.command import describe_bytes, fleet_command, print_json, print_table
from edge.errors import FleetError
from edge.nodes import Node, NodeFile, Place, SshAddress, parse_label, select
from edge.settings import read_settings

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def nodes() -> None:
    """Register, show and remove edge nodes."""


@nodes.command("add")
@click.argument("name")
@click.option("--ssh", "address", metavar="USER@HOST[:PORT]", help="A machine that SSH reaches.")
@click.option("--key", type=_FILE, help="Private key that opens it; a passphrase is read from BONGSU_SSH_PASSPHRASE.")
@click.option("--kubernetes", is_flag=True, help="A node of the cluster that kubectl reaches.")
@click.option("--here", "is_here", is_flag=True, help="This machine, without SSH.")
@click.option("--place", metavar="LAT,LON,NAME,REGION", help="Where it stands.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="For selectors; may be repeated.")
@click.option("--host-key", "fingerprint", metavar="SHA256:…", help="The host key that it must have (default: ask).")
@fleet_command
async def _add(
    *,
    name: str,
    address: str | None,
    key: Path | None,
    kubernetes: bool,
    is_here: bool,
    place: str | None,
    labels: tuple[str, ...],
    fingerprint: str | None,
) -> int:
    """Verify a machine's host key, read its facts, and register it."""
    from edge import register

    if [kubernetes, is_here, address is not None].count(True) != 1:
        raise click.UsageError("say one of --ssh USER@HOST[:PORT], --kubernetes and --here")
    settings, where, known = read_settings(), Place.parse(place) if place else None, dict(map(parse_label, labels))
    if is_here:
        node = await register.add_here(settings, name, place=where, labels=known)
    elif address is None:
        node = register.add_kubernetes(settings, name, place=where, labels=known)
    else:
        node = await register.add_ssh(
            settings, name, SshAddress.parse(address), key, _confirm, fingerprint=fingerprint, place=where, labels=known
        )
    print(f"{name} added: {_describe(node)}")
    return 0


@nodes.command("list")
@click.option("--nodes", "selector", metavar="SELECTOR", default="all", help="Only these, such as region=Seoul.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@fleet_command
async def _list(*, selector: str, as_json: bool) -> int:
    """Print one line each."""
    known = NodeFile(read_settings().folder).read()
    chosen = select(known.values(), selector) if known or selector != "all" else []
    if as_json:
        print_json(chosen)
        return 0
    rows = [
        [n.name, n.address, n.place.region if n.place else "", n.facts.architecture if n.facts else "?",
         " ".join(f"{m}:{d.version}" for m, d in sorted(n.models.items())), _state(n),
         " ".join(f"{k}={v}" for k, v in sorted(n.labels.items()))]
        for n in chosen
    ]  # fmt: skip
    print_table(["NAME", "ADDRESS", "REGION", "CPU", "MODELS", "STATE", "LABELS"], rows)
    print(f"{len(chosen)} nodes", file=sys.stderr)
    return 0


@nodes.command("show")
@click.argument("name")
@click.option("--now", is_flag=True, help="Ask the node itself which models it has.")
@fleet_command
async def _show(*, name: str, now: bool) -> int:
    """Print everything known about a node, as JSON."""
    node = NodeFile(read_settings().folder).get(name)
    shown = msgspec.to_builtins(node)
    if now:
        from edge import ssh
        from edge.facts import Facts, NodeModels

        shown["facts"] = await ssh.ask(node, {"command": "facts"}, Facts)
        shown["on_node"] = (await ssh.ask(node, {"command": "models"}, NodeModels)).models
    print_json(shown)
    return 0


@nodes.command("remove")
@click.argument("name")
@click.option("--force", is_flag=True, help="Even if it cannot be reached and cleaned.")
@fleet_command
async def _remove(*, name: str, force: bool) -> int:
    """Remove our certificate, models and work from a node, then remove it from the register."""
    from edge import register

    left = await register.remove(read_settings(), name, is_forced=force)
    if left is not None:
        print(f"bongsu: {name} was not cleaned: {left}", file=sys.stderr)
    print(f"{name} removed")
    return 0


@nodes.command("drain")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Give it work again.")
@fleet_command
async def _drain(*, name: str, undo: bool) -> int:
    """Give a node no more work: deployments skip it."""
    settings = read_settings()
    NodeFile(settings.folder).update(name, is_drained=not undo)
    audit.record(settings.folder, "node_undrained" if undo else "node_drained", name)
    print(f"{name} {'takes work again' if undo else 'is drained'}")
    return 0


@nodes.command("label")
@click.argument("name")
@click.argument("labels", metavar="KEY=VALUE...", nargs=-1, required=True)
@fleet_command
async def _label(*, name: str, labels: tuple[str, ...]) -> int:
    """Set labels; KEY= removes one."""
    settings = read_settings()
    given = dict(map(parse_label, labels))
    known = {**NodeFile(settings.folder).get(name).labels, **given}
    node = NodeFile(settings.folder).update(name, labels={k: v for k, v in known.items() if v})
    audit.record(settings.folder, "node_labelled", name, labels=" ".join(labels))
    print(f"{name}: {' '.join(f'{k}={v}' for k, v in sorted(node.labels.items())) or 'no labels'}")
    return 0


@nodes.command("import")
@click.argument("inventory", type=_FILE)
@click.option("--user", help="Used for hosts without one in the inventory.")
@click.option("--key", type=_FILE, help="Used for hosts without one in the inventory.")
@click.option("--accept-host-keys", is_flag=True, help="Do not ask for each: trust the keys that the hosts show now.")
@fleet_command
async def _import(*, inventory: Path, user: str | None, key: Path | None, accept_host_keys: bool) -> int:
    """Register the hosts of an Ansible inventory in INI format, each with its groups as labels."""
    from edge import register
    from edge.inventory import read_inventory

    settings, found = read_settings(), read_inventory(inventory)
    known, failed = NodeFile(settings.folder).read(), 0
    for note in found.notes:
        print(f"bongsu: {note}", file=sys.stderr)
    for name, host in found.hosts.items():
        if name in known:
            print(f"{name} is registered already")
            continue
        try:
            node = await register.add_ssh(
                settings, name, host.address(user), Path(host.key).expanduser() if host.key else key,
                (lambda _: True) if accept_host_keys else _confirm, labels=dict.fromkeys(host.groups, "true"),
            )  # fmt: skip
        except FleetError as error:
            failed += 1
            print(f"bongsu: {name} was not added: {error}", file=sys.stderr)
        else:
            print(f"{name} added: {_describe(node)}")
    return 1 if failed else 0


@nodes.command("export")
@click.option("--nodes", "selector", metavar="SELECTOR", default="all", help="Only these.")
@fleet_command
async def _export(*, selector: str) -> int:
    """Print an Ansible inventory in INI format."""
    from edge.inventory import write_inventory

    print(write_inventory(select(NodeFile(read_settings().folder).read().values(), selector)), end="")
    return 0


def _state(node: Node) -> str:
    return "revoked" if node.revoked_at is not None else "drained" if node.is_drained else ""


def _confirm(question: str) -> bool:
    return click.confirm(f"{question}. Is that the right machine?", default=False, err=True)


def _describe(node: Node) -> str:
    facts = node.facts
    if facts is None:
        return "nothing is known of it"
    parts = [
        facts.architecture, f"{facts.cpus} CPUs", describe_bytes(facts.memory_bytes),
        f"{describe_bytes(facts.disk_free_bytes)} free", facts.system, facts.gpu, facts.container_runtime,
    ]  # fmt: skip
    return ", ".join(part for part in parts if part)
