"""One run of learning: export, corpus, training, evaluation, push, deployment; each step is taken once.

The run is a folder, `learning/NAME-TIME/`, with `state.json`; what was done is not done again when the command is
repeated after a stop, and training itself goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge import audit
from edge.artefact import Version, pull, push, read_version
from edge.canary import Watch
from edge.card import SUMS_FILE
from edge.deploy import Deployer, Plan
from edge.errors import FleetError
from edge.learn.corpus import read_test, write_corpus
from edge.learn.evaluation import Scores, evaluate, judge
from edge.learn.trainer import train
from edge.nodes import Node
from edge.oci.registry import Registry
from edge.request import clean
from edge.settings import FleetSettings, signing_key
from edge.signing import read_public_keys, read_signatures, sign
from edge.state_file import write_private
from models.registry import record

STATE_FILE, REPORT_FILE = "state.json", "report.md"
FEEDBACK = "feedback"
"""In the place of a folder: what operators said, exported from the database of this machine."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked for; a run that goes on keeps it.

    Attributes:
        model: its name.
        source: `feedback`, or the folder of an export.
        more: corpora that are added.
        trainer: command that trains; None: detect.training.
        version: of the new model.
        canary: how many nodes get it first.
        bursts: for how many those are watched before the rest follow; 0: not at all.
        is_deployed: whether it goes to the nodes, or stays in the registry.
    """

    model: str
    source: str
    more: list[str] = []
    trainer: str | None = None
    version: str
    canary: int = 1
    bursts: int = 0
    is_deployed: bool = True


class State(msgspec.Struct, kw_only=True):
    """How far a run is: the steps that are done with what came of each, and in the end its outcome."""

    options: Options
    service: str
    begun_at: datetime
    steps: dict[str, str] = {}
    outcome: str = ""


class LearningRun:
    """Takes the steps that are left of one run."""

    def __init__(
        self, settings: FleetSettings, registry: Registry, folder: Path, state: State, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._state = state
        self._say = say
        self.folder = folder

    async def run(self, nodes: Sequence[Node]) -> str:
        """Take all steps; the outcome in one line.

        Args:
            nodes: That get the new version if it is better.

        Raises:
            FleetError: a step failed; the same command goes on with it.
        """
        state, options = self._state, self._state.options
        service = await read_version(self._registry, options.model, state.service)
        await self._step("export", self._export)
        await self._step("corpus", self._corpus)
        await self._step("train", lambda: self._train(service))
        await self._step("evaluate", lambda: self._evaluate(service))
        if state.steps["evaluate"].startswith("refused"):
            return self._end(f"{options.model}:{options.version} was {state.steps['evaluate']}")
        await self._step("push", lambda: self._push(service))
        if not options.is_deployed:
            return self._end(f"{options.model}:{options.version} is pushed and signed: {state.steps['evaluate']}")
        await self._step("deploy", lambda: self._deploy(nodes))
        return self._end(f"{options.model}:{options.version} {state.steps['deploy']}")

    async def _step(self, name: str, work: Callable[[], object]) -> None:
        if name in self._state.steps:
            self._say(f"{name}: done before: {self._state.steps[name]}")
            return
        self._say(f"{name} …")
        done = work()
        self._state.steps[name] = str(await done if asyncio.iscoroutine(done) else done)
        self._say(f"{name}: {self._state.steps[name]}")
        self._save()

    async def _export(self) -> str:
        source, target = self._state.options.source, self.folder / "feedback"
        if source != FEEDBACK:
            return source
        shutil.rmtree(target, ignore_errors=True)  # of a run that was stopped in the middle
        command = [sys.executable, "-c", "from functions.cli import main; main()", "feedback", "export", str(target)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        last = clean(said.decode(errors="replace").strip().split("\n")[-1])
        if process.returncode:
            raise FleetError(f"the feedback could not be exported: {last}")
        return last

    async def _corpus(self) -> str:
        options, folder = self._state.options, self.folder / "corpus"
        exported = self.folder / "feedback" if options.source == FEEDBACK else Path(options.source)
        shutil.rmtree(folder, ignore_errors=True)
        counts = await asyncio.to_thread(write_corpus, exported, [Path(more) for more in options.more], folder)
        return ", ".join(f"{counts[split]} pictures to {use}" for split, use in
                         (("train", "train on"), ("val", "choose by"), ("test", "judge by")))  # fmt: skip

    async def _train(self, service: Version) -> str:
        weights = self._candidate / service.card.weights
        weights.parent.mkdir(exist_ok=True)
        log = self.folder / "train.log"
        begun = datetime.now(UTC)
        await train(self._state.options.trainer, self.folder / "corpus", weights, log)
        record(weights)
        took_s = (datetime.now(UTC) - begun).total_seconds()
        return f"{weights.stat().st_size / 1e6:.1f} MB in {took_s:.0f} s"

    async def _evaluate(self, service: Version) -> str:
        kept = self.folder / "service"
        await pull(self._registry, service, kept)
        record(kept / service.card.weights)
        pictures = read_test(self.folder / "corpus")
        before, after = [
            await asyncio.to_thread(
                evaluate, folder / service.card.weights, service.card.labels, service.card.thresholds, pictures
            )
            for folder in (kept, self._candidate)
        ]
        is_better, why = judge(before, after)
        write_private(self.folder / "scores.json", msgspec.json.encode({"service": before, "candidate": after}))
        audit.record(self._settings.folder, "model_evaluated", self._name, against=service.card.version, result=why)
        return f"{'better' if is_better else 'refused'}: {why} (in service: {before}; new: {after})"

    async def _push(self, service: Version) -> str:
        scores = msgspec.json.decode((self.folder / "scores.json").read_bytes(), type=dict[str, Scores])["candidate"]
        rate = round(scores.false_alarm_rate, 4)
        card = msgspec.structs.replace(
            service.card,
            version=self._state.options.version,
            # The scores of the version before were measured with other weights.
            metrics={"feedback_recall": round(scores.recall, 4), "feedback_false_alarm_rate": rate},
            lower_is_better=("feedback_false_alarm_rate",),
            files=None,
        )
        folder = self._candidate
        files = [path for path in (folder / card.weights, *folder.glob("*_int8.onnx")) if path.name != SUMS_FILE]
        digest, size = await push(self._registry, card, files)
        await sign(self._registry, card.name, digest, signing_key(self._settings))
        audit.record(self._settings.folder, "model_pushed", self._name, digest=digest, learned_from=service.digest)
        return f"{size / 1e6:.1f} MB, {digest}"

    async def _deploy(self, nodes: Sequence[Node]) -> str:
        version = await read_version(self._registry, self._state.options.model, self._state.options.version)
        signatures = await read_signatures(self._registry, version.name, version.digest)
        trusted = read_public_keys(self._settings.folder / "trusted")
        options = self._state.options
        watch = Watch(options.bursts) if options.bursts else None
        plan = Plan(version, signatures, trusted, canary=options.canary, watch=watch)
        outcomes = await Deployer(self._settings, self._registry).deploy(plan, nodes)
        failed = [outcome for outcome in outcomes if outcome.error]
        if any(outcome.is_rolled_back for outcome in failed):
            return f"was rolled back: {failed[0].error}"
        if failed:
            raise FleetError(f"{failed[0].node}: {failed[0].error}")
        return f"is in use on {', '.join(outcome.node for outcome in outcomes)}"

    @property
    def _candidate(self) -> Path:
        return self.folder / "candidate"

    @property
    def _name(self) -> str:
        return f"{self._state.options.model}:{self._state.options.version}"

    def _end(self, outcome: str) -> str:
        self._state.outcome = outcome
        self._save()
        (self.folder / REPORT_FILE).write_text(describe(self._state), encoding="utf-8")
        audit.record(self._settings.folder, "model_learned", self._name, outcome=outcome[:300])
        return outcome

    def _save(self) -> None:
        write_private(self.folder / STATE_FILE, msgspec.json.encode(self._state))


def begin(settings: FleetSettings, options: Options, service: str) -> tuple[Path, State]:
    """The folder and state of a new run."""
    now = datetime.now(UTC)
    folder = settings.folder / "learning" / f"{options.model.replace('/', '-')}-{now:%Y%m%dT%H%M%S%f}"
    folder.mkdir(parents=True, mode=0o700)
    state = State(options=options, service=service, begun_at=now)
    write_private(folder / STATE_FILE, msgspec.json.encode(state))
    return folder, state


def find_unfinished(settings: FleetSettings, model: str) -> tuple[Path, State] | None:
    """The newest run of a model that has no outcome yet."""
    for path in sorted((settings.folder / "learning").glob(f"*/{STATE_FILE}"), reverse=True):
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError):
            continue
        if state.options.model == model:
            return None if state.outcome else (path.parent, state)
    return None


def version_in_service(nodes: Sequence[Node], model: str) -> str:
    """The version that most of the nodes run.

    Raises:
        FleetError: none of them runs the model.
    """
    versions = Counter(node.models[model].version for node in nodes if model in node.models)
    if not versions:
        raise FleetError(f"none of these nodes runs {model}: bongsu models deploy {model}:VERSION comes first")
    return versions.most_common(1)[0][0]


def describe(state: State) -> str:
    """The report of a run, in Markdown."""
    options = state.options
    lines = [
        f"# {options.model}:{options.version}, learned from {options.source}", "", state.outcome, "",
        f"- begun {state.begun_at:%Y-%m-%d %H:%M} UTC, against {options.model}:{state.service}",
        f"- trainer: {options.trainer or 'detect.training'}", "", "| step | result |", "|---|---|",
        *(f"| {name} | {result.replace('|', '/')} |" for name, result in state.steps.items()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
