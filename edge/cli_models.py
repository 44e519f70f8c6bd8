"""`bongsu models`: versions in the registry: push, list, show, pull, delete, sign, verify and compare them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from edge import audit
from edge.artefact import Version, pull, push, read_version
from edge.card import ModelCard, check_card, read_folder
from edge.command import describe_bytes, fleet_command, print_json, print_table
from edge.errors import FleetError
from edge.nodes import NodeFile
from edge.oci.manifest import split_reference
from edge.oci.registry import Registry, open_registry
from edge.progress import ProgressView
from edge.settings import FleetSettings, read_settings
from models.registry import WEIGHTS

_PATH = click.Path(path_type=Path, exists=True)


@click.group()
def models() -> None:
    """Keep models in a registry, sign and deploy them."""


@asynccontextmanager
async def opened(settings: FleetSettings) -> AsyncIterator[Registry]:
    """The registry of the settings; it is closed at the end."""
    registry = open_registry(settings)
    try:
        yield registry
    finally:
        await registry.close()


@models.command("keygen")
@fleet_command
async def _keygen() -> int:
    """Make a pair of ed25519 keys: one to sign, the other trusted by this fleet."""
    from edge.signing import make_key

    settings = read_settings()
    private, public = signing_key(settings), settings.folder / "trusted/signing.pem"
    make_key(private, public)
    audit.record(settings.folder, "key_made", str(public))
    print(f"signs: {private} (keep it secret)\ntrusted: {public}")
    return 0


@models.command("push")
@click.argument("source", metavar="[DIR|FILE]", type=_PATH, required=False)
@click.option("--shipped", "is_shipped", is_flag=True, help="The hazard network that comes with bongsu.")
@click.option("--name", help="Name of the model (default: from model.yaml).")
@click.option("--version", help="Such as 2026.11.1 (default: from model.yaml).")
@click.option("--task", help="detect, reid or measure.")
@click.option(
    "--label", "labels", multiple=True, help="A class label, in the order of the network's classes; repeated."
)
@click.option("--threshold", "thresholds", metavar="LABEL=SCORE", multiple=True, help="Minimum score of a label.")
@click.option("--metric", "metrics", metavar="NAME=SCORE", multiple=True, help="One of its scores.")
@click.option("--architecture", "architectures", multiple=True, help="amd64, arm64 …; default any.")
@click.option("--input-px", type=int, help="Side of the network's input in pixels.")
@click.option("--licence", help="SPDX expression, such as AGPL-3.0-or-later.")
@click.option("--sign", "is_signed", is_flag=True, help="Also sign it.")
@fleet_command
async def _push(*, source: Path | None, is_shipped: bool, is_signed: bool, **given: Any) -> int:
    """Store a folder with model.yaml, or a file of weights, as a version."""
    if is_shipped == (source is not None):
        raise click.UsageError("name a folder or a file, or use --shipped")
    settings, source = read_settings(), source or WEIGHTS
    card, files = _gather(source, given)
    total = sum(file.stat().st_size for file in files)
    shown = f"{card.name}:{card.version}"
    view, done = ProgressView([shown]), 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        view.bytes(shown, min(done, total), total)

    async with opened(settings) as registry:
        digest, size = await push(registry, card, files, on_bytes)
        if is_signed:
            from edge.signing import sign

            await sign(registry, card.name, digest, signing_key(settings))
    view.state(shown, "pushed")
    audit.record(settings.folder, "model_pushed", shown, digest=digest)
    print(f"{shown}  {digest}  {describe_bytes(size)}{'  signed' if is_signed else ''}")
    return 0


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@fleet_command
async def _list(*, as_json: bool) -> int:
    """Print one line for each version in the registry."""
    from edge.signing import is_signature_tag, signature_tag

    found = []
    async with opened(read_settings()) as registry:
        for name in await registry.names():
            tags = await registry.tags(name)
            for tag in (tag for tag in tags if not is_signature_tag(tag)):
                try:
                    version = await read_version(registry, name, tag)
                except FleetError as error:  # other artefacts in the same registry
                    print(f"bongsu: left out: {error}", file=sys.stderr)
                else:
                    found.append((tag, version, signature_tag(version.digest) in tags))
    if as_json:
        print_json([{**_facts(v), "version": t, "signed": s} for t, v, s in found])
        return 0
    rows = [
        [v.name, tag, v.digest[7:19], describe_bytes(v.size), v.card.task, "signed" if signed else "unsigned",
         v.card.licence or "no licence stated"]
        for tag, v, signed in found
    ]  # fmt: skip
    print_table(["NAME", "VERSION", "DIGEST", "SIZE", "TASK", "SIGNATURE", "LICENCE"], rows)
    return 0


@models.command("show")
@click.argument("reference", metavar="NAME:VERSION")
@fleet_command
async def _show(*, reference: str) -> int:
    """Print a version's card, its files and who signed it, as JSON."""
    from edge.signing import read_signatures

    async with opened(read_settings()) as registry:
        version = await read_version(registry, *split_reference(reference))
        signatures = await read_signatures(registry, version.name, version.digest)
    print_json({**_facts(version), "signatures": len(signatures)})
    return 0


@models.command("pull")
@click.argument("reference", metavar="NAME:VERSION")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Default: NAME-VERSION here.")
@fleet_command
async def _pull(*, reference: str, into: Path | None) -> int:
    """Write a version's files here; an interrupted pull continues where it stopped."""
    name, tag = split_reference(reference)
    async with opened(read_settings()) as registry:
        version = await read_version(registry, name, tag)
        folder = into or Path(f"{name.replace('/', '-')}-{version.card.version}")
        await pull(registry, version, folder)
    print(f"{reference} is in {folder}: {describe_bytes(version.size)}, {version.digest}")
    return 0


@models.command("delete")
@click.argument("reference", metavar="NAME:VERSION")
@click.option("--force", is_flag=True, help="Even if a node uses it.")
@click.option("--collect-on", metavar="NODE", help="The node that runs the registry: collect garbage there.")
@click.option(
    "--registry-config",
    default="/etc/docker/registry/config.yml",
    show_default=True,
    help="The registry's configuration file there.",
)
@fleet_command
async def _delete(*, reference: str, force: bool, collect_on: str | None, registry_config: str) -> int:
    """Delete a version and its signatures from the registry, and free blobs that nothing else uses."""
    from edge.signing import signature_tag

    settings = read_settings()
    name, tag = split_reference(reference)
    async with opened(settings) as registry:
        found = await registry.resolve(name, tag)
        if found is None:
            raise FleetError(f"no model {reference} in {registry.address}: bongsu models list shows them")
        users = [n.name for n in NodeFile(settings.folder).read().values() if n.models.get(name) and
                 n.models[name].digest == found.digest]  # fmt: skip
        if users and not force:
            raise FleetError(f"{reference} is in use on {', '.join(users)}: deploy another there, or --force")
        signatures = await registry.resolve(name, signature_tag(found.digest))
        for manifest in (signatures, found):
            if manifest is not None:
                await registry.delete_manifest(name, manifest.digest)
        freed = await registry.collect_garbage()
    audit.record(settings.folder, "model_deleted", reference, digest=found.digest)
    print(f"{reference} deleted{f', {describe_bytes(freed)} freed' if freed is not None else ''}")
    if collect_on is not None:
        from edge import ssh

        node = NodeFile(settings.folder).get(collect_on)
        command = ["docker-registry", "garbage-collect", "--delete-untagged", registry_config]
        output = await ssh.run(node, command)
        print(f"garbage collected on {collect_on}: {output.count('blob eligible for deletion')} blobs deleted")
    elif freed is None:
        print(f"the registry frees the space at: docker-registry garbage-collect --delete-untagged {registry_config}")
    return 0


@models.command("sign")
@click.argument("reference", metavar="NAME:VERSION")
@click.option("--key", type=_PATH, help="Private key in PEM (default: BONGSU_SIGNING_KEY, or the one from keygen).")
@fleet_command
async def _sign(*, reference: str, key: Path | None) -> int:
    """Sign a version."""
    from edge.signing import sign

    settings = read_settings()
    async with opened(settings) as registry:
        version = await read_version(registry, *split_reference(reference))
        await sign(registry, version.name, version.digest, key or signing_key(settings))
    audit.record(settings.folder, "model_signed", reference, digest=version.digest)
    print(f"{reference} is signed: {version.digest}")
    return 0


@models.command("verify")
@click.argument("reference", metavar="NAME:VERSION")
@click.option("--key", type=_PATH, help="Public key in PEM (default: the fleet's trusted keys).")
@fleet_command
async def _verify(*, reference: str, key: Path | None) -> int:
    """Check a version's signature, and every byte of its files."""
    from edge.signing import read_public_keys, read_signatures, verify
    from edge.verification import check_blobs

    settings = read_settings()
    async with opened(settings) as registry:
        version = await read_version(registry, *split_reference(reference))
        trusted = [key.read_bytes()] if key else read_public_keys(settings.folder / "trusted")
        verify(await read_signatures(registry, version.name, version.digest), version.digest, trusted)
        await check_blobs(registry, version)
    print(f"{reference} is signed by a trusted key: {version.digest}, {describe_bytes(version.size)}")
    return 0


@models.command("diff")
@click.argument("before", metavar="NAME:VERSION")
@click.argument("after", metavar="NAME:VERSION")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@fleet_command
async def _diff(*, before: str, after: str, as_json: bool) -> int:
    """Compare two versions: scores, labels, thresholds and files."""
    from edge.comparison import compare

    async with opened(read_settings()) as registry:
        old = await read_version(registry, *split_reference(before))
        new = await read_version(registry, *split_reference(after))
    changes = compare(old, new)
    if as_json:
        print_json(changes)
        return 0
    print_table(["WHAT", before, after, "CHANGE"], [[c.what, c.before, c.after, c.change] for c in changes])
    return 0


def signing_key(settings: FleetSettings) -> Path:
    """Path of the signing key."""
    return Path(os.environ.get("BONGSU_SIGNING_KEY") or settings.folder / "keys/signing.pem")


def _gather(source: Path, given: dict[str, Any]) -> tuple[ModelCard, list[Path]]:
    """The card and files of a folder or a single file; options of the command line take precedence."""
    stated = {key: value for key, value in given.items() if value not in (None, ())}
    for key in ("thresholds", "metrics"):
        if key in stated:
            stated[key] = dict(_score(pair, key) for pair in stated[key])
    if source.is_dir():
        card, files = read_folder(source)
    elif "name" in stated and "version" in stated:
        card, files = ModelCard(name=stated["name"], version=stated["version"], weights=source.name), [source]
    else:
        raise FleetError(f"{source} is a file: give --name and --version, or push a folder with model.yaml")
    facts = {**msgspec.to_builtins(card), **stated}
    try:
        return check_card(msgspec.convert(facts, ModelCard), str(source)), files
    except msgspec.ValidationError as error:
        raise FleetError(f"{source}: {error}") from None


def _score(pair: str, key: str) -> tuple[str, float]:
    name, _, value = pair.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise FleetError(f"--{key.removesuffix('s')} must be NAME=SCORE, got {pair!r}") from None


def _facts(version: Version) -> dict[str, Any]:
    return {
        "name": version.name,
        "digest": version.digest,
        "size": version.size,
        "card": version.card,
        "files": [
            {"name": layer.annotations["org.cncf.model.filepath"], "digest": layer.digest, "size": layer.size}
            for layer in version.manifest.layers
        ],
    }
