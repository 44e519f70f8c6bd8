"""What `bongsu function new` writes: one function, its KEDA manifest and its test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from functions.event import CustomEvent
from functions.event.facts import FACTS
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

_TEST = '''"""{title}, run as a worker runs it: the real runtime, in this process."""

import asyncio

from functions.testing import make_event, run_function


def test_{name}_takes_{first}() -> None:
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
  annotations: {{bongsu/publishes: ""}}
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

_TRIGGERS = (("amqp", "QueueLength", 20), ("http", "QueueLength", 20), ("http", "MessageRate", 100))
_TRIGGER = """\
    - type: rabbitmq
      metadata: {{protocol: {protocol}, queueName: {queue}, mode: {mode}, value: "{value}", activationValue: "0"}}
      authenticationRef: {{name: bongsu-rabbitmq-{protocol}}}
"""


def write_function(root: Path, name: str, types: Sequence[str]) -> list[Path]:
    """Write a function, its manifest and its test under `root`.

    In a checkout these are `notify/NAME.py`, `keda/NAME.yaml` and `tests/notify/test_NAME.py`; in any other folder
    `NAME.py`, `keda/NAME.yaml` and `tests/test_NAME.py`.

    Returns:
        The files, the function first.

    Raises:
        ValueError: the name or a type is invalid, or a file exists already.
        OSError: a file cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise ValueError(f"function name must be lower case letters, digits and _, got {name!r}")
    for event_type in types:
        queue(queue_name(event_type, name))
    if is_checkout(root):
        code, tests, module, target = root / "notify", root / "tests/notify", f"notify.{name}", f"notify.{name}"
    else:
        code, tests, module, target = root, root / "tests", name, f"./{name}.py"
    title = name.replace("_", " ").capitalize()
    facts = sorted({FACTS.get(t, CustomEvent).__name__ for t in types})
    kinds = " or ".join(types)
    quoted = ", ".join(f'"{t}"' for t in types)
    triggers = "".join(
        _TRIGGER.format(protocol=protocol, queue=queue_name(t, name), mode=mode, value=value)
        for t in types
        for protocol, mode, value in _TRIGGERS
    )
    files = {
        code / f"{name}.py": _FUNCTION.format(
            title=title, name=name, types=quoted, kinds=kinds, imports=", ".join(facts), facts=" | ".join(facts)
        ),
        root / "keda" / f"{name}.yaml": _MANIFEST.format(title=title, target=target, dns=name.replace("_", "-"))
        + triggers,
        tests / f"test_{name}.py": _TEST.format(module=module, title=title, name=name, first=types[0]),
    }
    for path in files:
        if path.exists():
            raise ValueError(f"{path} exists already: choose another name, or remove it")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(files)


def is_checkout(root: Path) -> bool:
    """Whether the folder has the rooms of Bongsu's repository that a new function goes into."""
    return all((root / room).is_dir() for room in ("notify", "keda", "tests/notify"))
