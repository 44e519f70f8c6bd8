"""Deploys a version of a model to nodes, or rolls it back: by digest, verified on each node, atomically."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from edge import audit, ssh
from edge.artefact import ARCHITECTURES, Version
from edge.errors import FleetError, NodeLostError
from edge.nodes import Deployed, Node, NodeFile
from edge.oci.registry import Registry
from edge.progress import ProgressView
from edge.settings import FleetSettings
from edge.signing import Signature


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one node.

    Attributes:
        node: its name.
        error: why it does not use the version; None if it does.
        is_lost: whether it could not be reached, so that a retry may succeed.
        moved_bytes: bytes that were sent.
        before: digest of the version that it used before.
    """

    node: str
    error: str | None = None
    is_lost: bool = False
    moved_bytes: int = 0
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to deploy, and how.

    Attributes:
        version: the version.
        signatures: its signatures in the registry.
        trusted: public keys in PEM; one of them must have signed.
        is_unsigned_allowed: whether to accept an unsigned version.
        keep: how many versions a node keeps.
        max_parallel: how many nodes at a time.
        canary: how many nodes go first; the rest follow only if all of those succeed.
    """

    version: Version
    signatures: Sequence[Signature]
    trusted: Sequence[bytes]
    is_unsigned_allowed: bool = False
    keep: int = 3
    max_parallel: int = 4
    canary: int = 0


class _Deployed(msgspec.Struct):
    digest: str
    before: str | None
    moved_bytes: int


class _RolledBack(msgspec.Struct):
    digest: str
    version: str


class Deployer:
    """Deploys with one registry, as one operator."""

    def __init__(self, settings: FleetSettings, registry: Registry, view: ProgressView | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._nodes = NodeFile(settings.folder)
        self._view = view

    async def deploy(self, plan: Plan, nodes: Sequence[Node]) -> list[Outcome]:
        """Deploy a version to nodes; a node that fails does not stop the others, unless it is a canary.

        Returns:
            The result for each node, in order.
        """
        source = await self._source(plan.version)
        first, rest = nodes[: plan.canary], nodes[plan.canary :]

        def work(node: Node) -> Awaitable[Outcome]:
            return self._deploy_one(plan, node, source)

        outcomes = await self._each(first, plan.max_parallel, work)
        if failed := next((o for o in outcomes if o.error), None):
            reason = f"not tried: the canary {failed.node} failed"
            return [*outcomes, *(Outcome(node.name, reason) for node in rest)]
        return [*outcomes, *await self._each(rest, plan.max_parallel, work)]

    async def roll_back(self, model: str, nodes: Sequence[Node], max_parallel: int = 4) -> list[tuple[Outcome, str]]:
        """Activate the previous version again; returns the result for each node, and the version that it uses now."""
        versions: dict[str, str] = {}

        async def work(node: Node) -> Outcome:
            back = await ssh.ask(node, {"command": "rollback", "name": model}, _RolledBack)
            versions[node.name] = back.version
            self._remember(node, model, back.version, back.digest)
            audit.record(self._settings.folder, "model_rolled_back", node.name, model=model, version=back.version)
            return Outcome(node.name)

        outcomes = await self._each(nodes, max_parallel, work)
        return [(outcome, versions.get(outcome.node, "")) for outcome in outcomes]

    async def _each(
        self, nodes: Sequence[Node], max_parallel: int, work: Callable[[Node], Awaitable[Outcome]]
    ) -> list[Outcome]:
        gate = asyncio.Semaphore(max(1, max_parallel))

        async def one(node: Node) -> Outcome:
            async with gate:
                try:
                    outcome = await work(node)
                except FleetError as error:
                    self._show(node, "lost" if isinstance(error, NodeLostError) else "failed")
                    return Outcome(node.name, str(error), isinstance(error, NodeLostError))
                self._show(node, "in use")
                return outcome

        return list(await asyncio.gather(*(one(node) for node in nodes)))

    async def _deploy_one(self, plan: Plan, node: Node, source: dict[str, str | None] | None) -> Outcome:
        _check_node(plan.version, node)
        version = plan.version
        self._show(node, "connecting")
        request: dict[str, Any] = {
            "command": "deploy",
            "name": version.name,
            "digest": version.digest,
            "manifest": base64.b64encode(version.content).decode(),
            "require_signature": not plan.is_unsigned_allowed,
            "signatures": [
                {"payload": base64.b64encode(s.payload).decode(), "value": base64.b64encode(s.value).decode()}
                for s in plan.signatures
            ],
            "trusted": [key.decode() for key in plan.trusted],
            "source": source,
            "keep": plan.keep,
        }
        done = await ssh.ask(
            node,
            request,
            _Deployed,
            on_progress=lambda done, total: self._view.bytes(node.name, done, total) if self._view else None,
            blobs=self._only_blobs_of(version),
        )
        if done.digest != version.digest:
            raise FleetError(f"node {node.name!r} reports that it uses {done.digest[:80]!r}, not the deployed version")
        self._remember(node, version.name, version.card.version, version.digest)
        audit.record(
            self._settings.folder,
            "model_deployed",
            node.name,
            model=version.name,
            version=version.card.version,
            digest=version.digest,
        )
        return Outcome(node.name, moved_bytes=done.moved_bytes, before=done.before)

    def _only_blobs_of(self, version: Version) -> ssh.Blobs:
        """Serves blobs to a node: each file of the version once, and nothing else from the registry."""
        wanted = {layer.digest: layer.size for layer in version.manifest.layers}

        def read(digest: str, offset: int) -> AsyncIterator[bytes]:
            size = wanted.pop(digest, None)
            if size is None or not 0 <= offset < size:
                raise FleetError(f"a node asked for byte {offset} of {digest[:80]!r}, which is not to be sent now")
            return self._registry.read_blob(version.name, digest, offset)

        return read

    async def _source(self, version: Version) -> dict[str, str | None] | None:
        """The registry from which nodes pull by themselves; None if blobs are sent over SSH."""
        if not self._settings.registry.startswith(("https://", "http://")):
            return None
        from edge.oci.remote import RemoteRegistry

        reader = RemoteRegistry(self._settings.registry, self._settings.registry_ca, self._settings.reader)
        try:
            authorization = await reader.pull_authorization(version.name)
        finally:
            await reader.close()
        ca = self._settings.registry_ca
        return {
            "url": reader.blobs_url(version.name),
            "authorization": authorization,
            "ca": ca.read_text() if ca is not None else None,
        }

    def _remember(self, node: Node, model: str, version: str, digest: str) -> None:
        deployed = Deployed(version, digest, datetime.now(UTC))

        def note(nodes: dict[str, Node]) -> None:
            if (known := nodes.get(node.name)) is not None:
                nodes[node.name] = msgspec.structs.replace(known, models={**known.models, model: deployed})

        self._nodes.change(note)

    def _show(self, node: Node, state: str) -> None:
        if self._view is not None:
            self._view.state(node.name, state)


def _check_node(version: Version, node: Node) -> None:
    """Check a node against the register before connecting; the node checks again."""
    if node.is_drained:
        raise FleetError(f"node {node.name!r} is drained: bongsu nodes drain {node.name} --undo")
    if node.ssh is None:
        raise FleetError(f"node {node.name!r} is the cluster's: pods take models as image volumes (docs/fleet.md)")
    wanted = version.manifest.annotations.get(ARCHITECTURES, "any").split(",")
    if node.facts is not None and "any" not in wanted and node.facts.architecture not in wanted:
        raise FleetError(
            f"node {node.name!r}: wrong architecture: {version.name}:{version.card.version} is for "
            f"{', '.join(wanted)}, the node is {node.facts.architecture}"
        )
