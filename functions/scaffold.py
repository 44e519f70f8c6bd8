"""What `bongsu function new` writes: one function, its KEDA manifest and its test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from functions.event import Answered, CustomEvent
from functions.event.facts import FACTS
from functions.hook import hook_at
from functions.schedule import Schedule
from functions.topology import queue, queue_name

_FUNCTION = '''"""{title}: describe what this function does, and for whom."""

import structlog

from functions import {imports}, Retry, on

log = structlog.get_logger()


@on({types})
async def {name}(event: {facts}) -> None:
    """Called once for every {kinds}; perhaps again if a replica dies, so act idempotently on `event.id`."""
    if not event.place.name:
        raise Retry("no place yet", after=5)  # or Reject("why"): straight to the dead letters
    log.info("{name}_handled", place=event.place.name)
'''

_HOOK = '''"""{title}: describe what this function does, and for whom."""

from msgspec import Struct

from functions import HttpRequest, on


class Question(Struct, frozen=True):
    """What the body of a request must be, as JSON."""

    name: str = "you"


@on.http("{path}", access="operator")
async def {name}(request: HttpRequest) -> dict[str, str]:
    """Called once for every request; at least once if a replica dies, so act idempotently on `request.id`."""
    question = request.json(Question)  # anything else is rejected, and the caller reads why
    return {{"hello": question.name}}
'''

_TICK = '''"""{title}: describe what this function does, and for whom."""

import structlog

from functions import Tick, on

log = structlog.get_logger()


@on.schedule("{cron}", zone="UTC")
async def {name}(tick: Tick) -> None:
    """Called once for every tick; at least once if a replica dies, so act idempotently on `tick.id`."""
    log.info("{name}_called", due_at=tick.due_at.isoformat())
'''

_TEST = '''"""{title}, run as a worker runs it: the real runtime, in this process."""

import asyncio

from functions.testing import make_event, run_function


def test_{name}_takes_{takes}() -> None:
    outcome = asyncio.run(run_function("{module}", make_event("{first}")))
    assert len(outcome.handled) == 1
    assert not outcome.retried and not outcome.dead
'''

_MANIFEST = """\
# {title}. `make run` and KEDA scale it by the messages in its queues.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {dns}
  labels: {{app.kubernetes.io/name: {dns}, app.kubernetes.io/part-of: bongsu}}
  # Event types that its broker user may publish, separated by commas; `make generate` writes the permissions.
  annotations: {{bongsu/publishes: "{publishes}"}}
spec:
  # No `replicas`: KEDA owns the number.
  selector:
    matchLabels: {{app.kubernetes.io/name: {dns}}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {dns}, app.kubernetes.io/part-of: bongsu}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: {dns}
          image: bongsu/function:0.1.0
          command: [python, -m, functions, {target}]
          envFrom:
            - secretRef: {{name: bongsu-broker-{dns}}}
          ports:
            - {{name: metrics, containerPort: 9090}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {dns}
  labels: {{app.kubernetes.io/name: {dns}, app.kubernetes.io/part-of: bongsu}}
spec:
  scaleTargetRef: {{name: {dns}}}
  pollingInterval: 1
  cooldownPeriod: 10
  minReplicaCount: 0
  maxReplicaCount: 3
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          # The HPA does not know which pods are busy: remove one pod a minute, after the load has been low for one.
          stabilizationWindowSeconds: 60
          policies:
            - {{type: Pods, value: 1, periodSeconds: 60}}
  triggers:
    # amqp starts replicas; http, which also counts unacknowledged messages, keeps them until the work is done; the rate
    # keeps them through a steady trickle, which is handled between two polls.
"""

_CRON = """\
---
# Publishes one event for each tick, its id made of its time; `make generate` copies schedule and zone from the code.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {dns}-tick
  labels: {{app.kubernetes.io/name: {dns}-tick, app.kubernetes.io/part-of: bongsu}}
spec:
  schedule: "{cron}"
  timeZone: "UTC"
  concurrencyPolicy: Allow
  # A tick that is later than this is left out; of several that were missed only the last is made up for.
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 10
      ttlSecondsAfterFinished: 86400
      template:
        metadata:
          labels: {{app.kubernetes.io/name: {dns}-tick, app.kubernetes.io/part-of: bongsu, bongsu/role: job}}
        spec:
          restartPolicy: OnFailure
          serviceAccountName: bongsu
          automountServiceAccountToken: false
          enableServiceLinks: false
          securityContext:
            {{runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, seccompProfile: {{type: RuntimeDefault}}}}
          containers:
            - name: tick
              image: bongsu/function:0.1.0
              # The Job's name ends in the minute that it was due in.
              command: [bongsu, function, tick, {name}, --job, $(JOB_NAME)]
              env:
                - name: JOB_NAME
                  valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}}}
              envFrom:
                - secretRef: {{name: bongsu-broker-{dns}}}
                - configMapRef: {{name: bongsu-settings}}
              resources: {{requests: {{cpu: 50m, memory: 64Mi}}, limits: {{memory: 256Mi}}}}
              securityContext:
                {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"""

_TRIGGERS = (("amqp", "QueueLength", 20), ("http", "QueueLength", 20), ("http", "MessageRate", 100))
_TRIGGER = """\
    - type: rabbitmq
      metadata: {{protocol: {protocol}, queueName: {queue}, mode: {mode}, value: "{value}", activationValue: "0"}}
      authenticationRef: {{name: bongsu-rabbitmq-{protocol}}}
"""


def write_function(
    root: Path, name: str, types: Sequence[str], *, path: str | None = None, cron: str | None = None
) -> list[Path]:
    """Write a function, its manifest and its test under `root`.

    In a checkout these are `notify/NAME.py`, `keda/NAME.yaml` and `tests/notify/test_NAME.py`; in any other folder
    `NAME.py`, `keda/NAME.yaml` and `tests/test_NAME.py`.

    Args:
        root: a checkout, or any folder.
        name: of the function: lower case letters, digits and _.
        types: events that it takes; none where it has a path or times.
        path: where it answers requests, such as `/hooks/report`.
        cron: when it is called, such as `0 6 * * *`.

    Returns:
        The files, the function first.

    Raises:
        ValueError: the name, a type, the path or the schedule is invalid, or a file exists already.
        OSError: a file cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise ValueError(f"function name must be lower case letters, digits and _, got {name!r}")
    title = name.replace("_", " ").capitalize()
    if path is not None:
        types, code = [hook_at(path).type], _HOOK.format(title=title, name=name, path=path)
    elif cron is not None:
        types, code = [Schedule(name, cron).type], _TICK.format(title=title, name=name, cron=cron)
    else:
        code = _on_types(title, name, types)
    for event_type in types:
        queue(queue_name(event_type, name))
    if is_checkout(root):
        folder, tests, module, target = root / "notify", root / "tests/notify", f"notify.{name}", f"notify.{name}"
    else:
        folder, tests, module, target = root, root / "tests", name, f"./{name}.py"
    triggers = "".join(
        _TRIGGER.format(protocol=protocol, queue=queue_name(t, name), mode=mode, value=value)
        for t in types
        for protocol, mode, value in _TRIGGERS
    )
    publishes = Answered.types()[0] if path is not None else ""
    manifest = _MANIFEST.format(title=title, target=target, dns=name.replace("_", "-"), publishes=publishes)
    crons = "" if cron is None else _CRON.format(dns=name.replace("_", "-"), name=name, cron=cron)
    first = types[0].replace("-", "_")
    files = {
        folder / f"{name}.py": code,
        root / "keda" / f"{name}.yaml": manifest + triggers + crons,
        tests / f"test_{name}.py": _TEST.format(module=module, title=title, name=name, first=types[0], takes=first),
    }
    for file in files:
        if file.exists():
            raise ValueError(f"{file} exists already: choose another name, or remove it")
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return list(files)


def _on_types(title: str, name: str, types: Sequence[str]) -> str:
    """The source of a function that takes events of these types."""
    facts = sorted({FACTS.get(t, CustomEvent).__name__ for t in types})
    quoted = ", ".join(f'"{t}"' for t in types)
    return _FUNCTION.format(
        title=title,
        name=name,
        types=quoted,
        kinds=" or ".join(types),
        imports=", ".join(facts),
        facts=" | ".join(facts),
    )


def is_checkout(root: Path) -> bool:
    """Whether the folder has the rooms of Bongsu's repository that a new function goes into."""
    return all((root / room).is_dir() for room in ("notify", "keda", "tests/notify"))
