"""Deploys a version of a model to nodes, or rolls it back: by digest, verified on each node, atomically."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge import audit, ssh
from edge.artefact import ARCHITECTURES, Version
from edge.canary import Watch, watch
from edge.deployments import Recorder
from edge.errors import FleetError, NodeLostError
from edge.nodes import Deployed, Node, NodeFile
from edge.oci.registry import Registry
from edge.progress import ProgressView
from edge.pull_source import Source, pull_source, source_for
from edge.request import Blobs
from edge.settings import FleetSettings
from edge.signing import Signature
from edge.verdicts import find_canary, watch_verdicts


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one node.

    Attributes:
        node: its name.
        error: why it does not use the version; None: it does.
        is_lost: whether it could not be reached, so that the same command is worth another try.
        moved_bytes: what had to be sent.
        before: digest of the version that it used until then.
        is_rolled_back: whether it had the version in use, and was put back because that did worse.
    """

    node: str
    error: str | None = None
    is_lost: bool = False
    moved_bytes: int = 0
    before: str | None = None
    is_rolled_back: bool = False


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
        canary: how many nodes come first; the rest follow only if all of those succeed.
        watch: for how many bursts and verdicts those are watched before they count as a success.
    """

    version: Version
    signatures: Sequence[Signature]
    trusted: Sequence[bytes]
    is_unsigned_allowed: bool = False
    keep: int = 3
    max_parallel: int = 4
    canary: int = 0
    watch: Watch | None = None


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
        source = await pull_source(self._settings, plan.version)
        first, rest = nodes[: plan.canary], nodes[plan.canary :]
        with self._begin("deploy", plan.version.name, plan.version.card.version, nodes) as record:

            def work(node: Node) -> Awaitable[Outcome]:
                return self._deploy_one(plan, node, source, record)

            outcomes = await self._each(first, plan.max_parallel, work, record)
            if plan.watch is not None and not any(o.error for o in outcomes):
                outcomes = await self._watch(plan, plan.watch, first, outcomes, record)
            if failed := next((o for o in outcomes if o.error), None):
                reason = f"not tried: the canary {failed.node} failed"
                record.end(failed.error or "")
                return [*outcomes, *(Outcome(node.name, reason) for node in rest)]
            return [*outcomes, *await self._each(rest, plan.max_parallel, work, record)]

    async def _watch(
        self, plan: Plan, how: Watch, nodes: Sequence[Node], outcomes: Sequence[Outcome], record: Recorder
    ) -> list[Outcome]:
        """Watch the canaries; if one does worse than the version before, all of them go back to that."""
        model = plan.version.name

        async def judge(node: Node) -> str | FleetError | None:
            record.state(node.name, "observed")
            try:
                why = None
                if how.bursts:
                    why = await watch(node, model, how, lambda done: record.count(node.name, done, how.bursts))
                if why is None and how.verdicts:
                    why = await self._watch_verdicts(plan, node, how, record)
                return why
            except FleetError as error:
                return error

        results = await asyncio.gather(*(judge(node) for node in nodes))
        worse = next(((n, why) for n, why in zip(nodes, results, strict=True) if isinstance(why, str)), None)
        if worse is None:
            for node, result in zip(nodes, results, strict=True):
                record.state(node.name, "in use", "" if result is None else str(result))
            return [
                outcome if result is None else replace(outcome, error=str(result))
                for outcome, result in zip(outcomes, results, strict=True)
            ]
        reason = f"{worse[0].name} was worse with {model}:{plan.version.card.version}: {worse[1]}"
        return [await self._put_back(node, model, reason, record) for node in nodes]

    async def _watch_verdicts(self, plan: Plan, node: Node, how: Watch, record: Recorder) -> str | None:
        nodes, cameras = self._nodes.read(), os.environ.get("BONGSU_CAMERAS")
        at = Path(cameras) if cameras else None
        canary = find_canary(self._settings.folder, nodes, node.name, plan.version, at)
        return await watch_verdicts(canary, how, lambda done: record.count(node.name, done, how.verdicts))

    async def _put_back(self, node: Node, model: str, reason: str, record: Recorder) -> Outcome:
        try:
            back = await ssh.ask(node, {"command": "rollback", "name": model}, _RolledBack)
        except FleetError as error:
            record.state(node.name, "failed", f"{reason}; and it could not be rolled back: {error}")
            return Outcome(node.name, f"{reason}; and {node.name} could not be rolled back: {error}")
        self._remember(node, model, back.version, back.digest)
        audit.record(
            self._settings.folder, "model_rolled_back", node.name, model=model, version=back.version, reason=reason
        )
        record.state(node.name, "rolled back", reason)
        return Outcome(node.name, f"{reason}; {model}:{back.version} is in use again", is_rolled_back=True)

    async def roll_back(self, model: str, nodes: Sequence[Node], max_parallel: int = 4) -> list[tuple[Outcome, str]]:
        """Activate the previous version again; returns the result for each node, and the version that it uses now."""
        versions: dict[str, str] = {}

        async def work(node: Node) -> Outcome:
            back = await ssh.ask(node, {"command": "rollback", "name": model}, _RolledBack)
            versions[node.name] = back.version
            self._remember(node, model, back.version, back.digest)
            audit.record(self._settings.folder, "model_rolled_back", node.name, model=model, version=back.version)
            return Outcome(node.name)

        with self._begin("rollback", model, "", nodes) as record:
            outcomes = await self._each(nodes, max_parallel, work, record)
            record.status.version = ", ".join(sorted(set(versions.values())))
        return [(outcome, versions.get(outcome.node, "")) for outcome in outcomes]

    async def _each(
        self, nodes: Sequence[Node], max_parallel: int, work: Callable[[Node], Awaitable[Outcome]], record: Recorder
    ) -> list[Outcome]:
        gate = asyncio.Semaphore(max(1, max_parallel))

        async def one(node: Node) -> Outcome:
            async with gate:
                try:
                    outcome = await work(node)
                except FleetError as error:
                    record.state(node.name, "lost" if isinstance(error, NodeLostError) else "failed", str(error))
                    return Outcome(node.name, str(error), isinstance(error, NodeLostError))
                record.state(node.name, "in use")
                return outcome

        return list(await asyncio.gather(*(one(node) for node in nodes)))

    async def _deploy_one(self, plan: Plan, node: Node, source: Source | None, record: Recorder) -> Outcome:
        _check_node(plan.version, node)
        version = plan.version
        record.state(node.name, "connecting")
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
            "source": source_for(node, source),
            "keep": plan.keep,
        }
        done = await ssh.ask(
            node,
            request,
            _Deployed,
            on_progress=lambda done, total: record.bytes(node.name, done, total),
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

    def _only_blobs_of(self, version: Version) -> Blobs:
        """Reads what a node asks for: each file of the version once, and nothing else of the registry."""
        wanted = {layer.digest: layer.size for layer in version.manifest.layers}

        def read(digest: str, offset: int) -> AsyncIterator[bytes]:
            size = wanted.pop(digest, None)
            if size is None or not 0 <= offset < size:
                raise FleetError(f"a node asked for byte {offset} of {digest[:80]!r}, which is not to be sent now")
            return self._registry.read_blob(version.name, digest, offset)

        return read

    def _remember(self, node: Node, model: str, version: str, digest: str) -> None:
        deployed = Deployed(version, digest, datetime.now(UTC))

        def note(nodes: dict[str, Node]) -> None:
            known = nodes.get(node.name)
            before = known.models.get(model) if known is not None else None
            # What is deployed again has been in use since it was first: its alarms are counted from then on.
            if known is not None and (before is None or before.digest != digest):
                nodes[node.name] = msgspec.structs.replace(known, models={**known.models, model: deployed})

        self._nodes.change(note)

    def _begin(
        self, action: Literal["deploy", "rollback"], model: str, version: str, nodes: Sequence[Node]
    ) -> Recorder:
        return Recorder(self._settings.folder, action, model, version, [node.name for node in nodes], view=self._view)


def _check_node(version: Version, node: Node) -> None:
    """Check a node against the register before connecting; the node checks again."""
    if node.is_drained:
        raise FleetError(f"node {node.name!r} is drained: bongsu nodes drain {node.name} --undo")
    if node.revoked_at is not None:
        raise FleetError(f"node {node.name!r} was revoked, and gets nothing: bongsu nodes remove {node.name}")
    if not node.is_reached:
        raise FleetError(f"node {node.name!r} is the cluster's: pods take models as image volumes (docs/fleet.md)")
    wanted = version.manifest.annotations.get(ARCHITECTURES, "any").split(",")
    if node.facts is not None and "any" not in wanted and node.facts.architecture not in wanted:
        raise FleetError(
            f"node {node.name!r}: wrong architecture: {version.name}:{version.card.version} is for "
            f"{', '.join(wanted)}, the node is {node.facts.architecture}"
        )
