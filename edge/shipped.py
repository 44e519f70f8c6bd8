"""This machine as the first node of its fleet, which runs the hazard network that is shipped.

`service.py --here` does it for `bongsu run`. What an operator has deployed here since then stays.
"""

from __future__ import annotations

import os
import socket

import msgspec
import structlog

from edge import audit, register
from edge.artefact import push, read_version
from edge.card import ModelCard, read_folder
from edge.deploy import Deployer, Plan
from edge.errors import FleetError
from edge.nodes import Node, NodeFile
from edge.oci.manifest import digest_of_file
from edge.oci.registry import Registry
from edge.settings import FleetSettings, signing_key
from edge.signing import make_key, read_public_keys, read_signatures, sign
from edge.state_file import write_private
from models.registry import WEIGHTS

log = structlog.get_logger()


async def set_up_here(settings: FleetSettings, registry: Registry) -> Node:
    """Register this machine, and deploy what is shipped where nothing else was deployed by hand; idempotent.

    Raises:
        FleetError: something of it failed; the next call goes on from there.
    """
    node = await _registered(settings)
    card = await _pushed(settings, registry)
    version = await read_version(registry, card.name, card.version)
    in_use, marker = node.models.get(card.name), settings.folder / "shipped"
    ours = marker.read_text().strip() if marker.exists() else ""
    if in_use is not None and (in_use.digest == version.digest or in_use.digest != ours):
        return node  # it is up to date, or an operator has chosen another
    signatures = await read_signatures(registry, card.name, version.digest)
    plan = Plan(version, signatures, read_public_keys(settings.folder / "trusted"))
    (outcome,) = await Deployer(settings, registry).deploy(plan, [node])
    if outcome.error is not None:
        raise FleetError(outcome.error)
    write_private(marker, version.digest.encode())
    log.info("model_deployed", node=node.name, model=card.name, version=card.version, bytes=outcome.moved_bytes)
    return NodeFile(settings.folder).get(node.name)


async def _registered(settings: FleetSettings) -> Node:
    known = NodeFile(settings.folder).read()
    if (here := next((node for node in known.values() if node.here is not None), None)) is not None:
        return here
    # The name by which cameras.yaml knows it, so that its cameras are found; else the host's.
    given = os.environ.get("BONGSU_NODE") or socket.gethostname()
    name = "".join(c if (c.isascii() and c.isalnum()) or c in "-." else "-" for c in given.lower()).strip("-.")[:63]
    node = await register.add_here(settings, name if name and name not in known else "this-machine")
    log.info("node_added", node=node.name)
    return node


async def _pushed(settings: FleetSettings, registry: Registry) -> ModelCard:
    """The card of what is shipped, whose version is in the registry and signed."""
    card, files = read_folder(WEIGHTS)
    weights, _ = digest_of_file(files[0])
    if await registry.resolve(card.name, card.version) is not None:
        kept = await read_version(registry, card.name, card.version)
        if kept.manifest.layers[0].digest != weights:  # other weights under the same number: a copy of the source
            card = msgspec.structs.replace(card, version=f"{card.version}-{weights[7:15]}")
    private = signing_key(settings)
    if not private.exists() and not any((settings.folder / "trusted").glob("*.pem")):
        make_key(private, settings.folder / "trusted/signing.pem")
        audit.record(settings.folder, "key_made", "trusted/signing.pem")
    if await registry.resolve(card.name, card.version) is None:
        digest, _ = await push(registry, card, files)
        audit.record(settings.folder, "model_pushed", f"{card.name}:{card.version}", digest=digest)
    version = await read_version(registry, card.name, card.version)
    if not await read_signatures(registry, card.name, version.digest):
        await sign(registry, card.name, version.digest, private)
        audit.record(settings.folder, "model_signed", f"{card.name}:{card.version}", digest=version.digest)
    return card
