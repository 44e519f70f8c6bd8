"""Plans the steps from the register to `fleet.yaml`, and runs them; `bongsu fleet` calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from edge import audit
from edge.artefact import push, read_version
from edge.card import read_folder
from edge.errors import FleetError
from edge.fleet_file import FleetFile, ModelEntry, wanted_models, wanted_nodes
from edge.nodes import Node, NodeFile, SshAddress
from edge.oci.manifest import split_reference
from edge.oci.registry import Registry
from edge.settings import FleetSettings

Say = Callable[[str], None]
_CHANGEABLE = ("key", "place", "labels", "is_drained")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        kind: what to do.
        subject: the node or version to change.
        detail: the change, for people.
        node: the wanted node.
        model: the version to push or deploy.
        nodes: the nodes to deploy it to.
    """

    kind: Literal["add", "change", "push", "deploy", "remove"]
    subject: str
    detail: str
    node: Node | None = None
    model: ModelEntry | None = None
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}: {self.detail}"


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The steps, in order, and notes about nodes that are left alone although they are not in the file."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def make_plan(
    file: FleetFile, base: Path, known: dict[str, Node], registry: Registry, *, is_pruning: bool = False
) -> FleetPlan:
    """Compare, without asking any node, so that a fleet of any size takes as long as reading two files.

    Args:
        file: the wanted fleet.
        base: the folder to which paths in it are relative.
        known: the register.
        registry: of the models; it is queried for versions that the file can push.
        is_pruning: whether to remove nodes that are not in the file.

    Raises:
        FleetError: the file contradicts itself or the register.
    """
    plan = FleetPlan()
    wanted = wanted_nodes(file, known, base)
    for name, node in wanted.items():
        plan.steps.extend(_node_steps(name, node, known.get(name)))
    for model, names in wanted_models(file, wanted):
        name, version = split_reference(model.version)
        if model.push is not None and await registry.resolve(name, version) is None:
            plan.steps.append(Step("push", model.version, f"from {base / model.push}", model=model))
        new = [n for n in names if n not in known or _version_on(known[n], name) != version]
        if new:
            plan.steps.append(Step("deploy", model.version, _moves(name, new, known), model=model, nodes=tuple(new)))
    for name in sorted(set(known) - set(wanted)):
        if is_pruning:
            plan.steps.append(Step("remove", name, "it is not in the file"))
        else:
            plan.notes.append(f"{name} is registered, but not in the file: --prune removes it")
    return plan


class PlanRunner:
    """Runs the steps of a plan; a step that fails does not stop those of other nodes."""

    def __init__(
        self, settings: FleetSettings, registry: Registry, base: Path, file: FleetFile, confirm: Callable[[str], bool]
    ) -> None:
        """Prepare to change a fleet; `confirm` is asked about host keys that are not in the file."""
        self._settings = settings
        self._registry = registry
        self._base = base
        self._file = file
        self._confirm = confirm

    async def take(self, steps: Sequence[Step], done: Say, failed: Say) -> int:
        """Run all steps in order.

        Args:
            steps: the steps of a plan.
            done: receives a line for each step that succeeded.
            failed: receives a line for each that failed, with the reason.

        Returns:
            The number of failures.
        """
        failures = 0
        for step in steps:
            try:
                problems = await self._take_one(step)
            except FleetError as error:
                problems = [f"{step.kind} {step.subject}: {error}"]
            for problem in problems:
                failed(problem)
            failures += bool(problems)
            if not problems:
                done(str(step))
        return failures

    async def _take_one(self, step: Step) -> list[str]:
        """Run one step; returns a line for each error."""
        if step.kind == "add" and step.node is not None:
            await self._add(step.node)
        elif step.kind == "change" and step.node is not None:
            changed = {name: getattr(step.node, name) for name in _CHANGEABLE}
            NodeFile(self._settings.folder).update(step.subject, **changed)
            audit.record(self._settings.folder, "node_changed", step.subject, change=step.detail)
        elif step.kind == "remove":
            from edge import register

            await register.remove(self._settings, step.subject)
        elif step.kind == "push" and step.model is not None:
            await self._push(step.model)
        elif step.model is not None:
            return await self._deploy(step.model, step.nodes)
        return []

    async def _add(self, node: Node) -> None:
        from edge import register  # importing asyncssh takes half a second, and a plan does not need it

        await register.add_ssh(
            self._settings, node.name, SshAddress.parse(node.ssh or ""), Path(node.key) if node.key else None,
            self._confirm, fingerprint=self._file.nodes[node.name].host_key, place=node.place, labels=node.labels,
        )  # fmt: skip
        if node.is_drained:
            NodeFile(self._settings.folder).update(node.name, is_drained=True)

    async def _push(self, model: ModelEntry) -> None:
        from edge.cli_models import signing_key
        from edge.signing import sign

        card, files = read_folder(self._base / (model.push or ""))
        name, version = split_reference(model.version)
        card = msgspec.structs.replace(card, name=name, version=version)
        digest, _ = await push(self._registry, card, files)
        await sign(self._registry, name, digest, signing_key(self._settings))
        audit.record(self._settings.folder, "model_pushed", model.version, digest=digest)

    async def _deploy(self, model: ModelEntry, names: Sequence[str]) -> list[str]:
        from edge.deploy import Deployer, Plan
        from edge.signing import read_public_keys, read_signatures, verify

        known = NodeFile(self._settings.folder).read()
        nodes = [known[name] for name in names if name in known]  # a node that could not be added has been reported
        version = await read_version(self._registry, *split_reference(model.version))
        trusted = read_public_keys(self._settings.folder / "trusted")
        signatures = await read_signatures(self._registry, version.name, version.digest)
        verify(signatures, version.digest, trusted)
        plan = Plan(version, signatures, trusted, keep=model.keep, canary=model.canary)
        outcomes = await Deployer(self._settings, self._registry).deploy(plan, nodes)
        missing = [f"deploy {model.version}: {name} is not registered" for name in names if name not in known]
        return [*missing, *(f"deploy {model.version} to {o.node}: {o.error}" for o in outcomes if o.error)]


def _node_steps(name: str, wanted: Node, known: Node | None) -> list[Step]:
    if known is None:
        return [Step("add", name, f"ssh {wanted.ssh}", node=wanted)]
    if known.ssh != wanted.ssh:
        raise FleetError(
            f"{name} is registered as {known.ssh or 'a node of the cluster'}, but the file has {wanted.ssh}: "
            f"bongsu nodes remove {name}, then apply adds it, with its new host key"
        )
    changes = [
        f"{field.removeprefix('is_')} {_shown(getattr(known, field))} -> {_shown(getattr(wanted, field))}"
        for field in _CHANGEABLE
        if getattr(known, field) != getattr(wanted, field)
    ]
    return [Step("change", name, "; ".join(changes), node=wanted)] if changes else []


def _version_on(node: Node, model: str) -> str | None:
    return node.models[model].version if model in node.models else None


def _moves(model: str, names: Sequence[str], known: dict[str, Node]) -> str:
    def before(name: str) -> str:
        return (_version_on(known[name], model) if name in known else None) or "none"

    return ", ".join(f"{name} (has {before(name)})" for name in names)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k}={v}" for k, v in sorted(value.items())) or "none"
    if isinstance(value, msgspec.Struct):
        return ",".join(str(part) for part in msgspec.to_builtins(value).values() if part != "")
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
