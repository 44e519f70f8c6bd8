"""Generates parts of manifests and docs from the code: queues, broker permissions, hazards, settings.

`python tools/generate.py --check` changes nothing, prints the files that differ and exits with 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import event_schema  # noqa: E402
import plural_rules  # noqa: E402
import settings_page  # noqa: E402

from functions import permissions  # noqa: E402
from functions.event import facts  # noqa: E402
from functions.function import load_function  # noqa: E402
from functions.hazards import HAZARDS  # noqa: E402
from functions.hook import RESULTS, Hook, one_each, show_hooks  # noqa: E402
from functions.topology import queue_name  # noqa: E402

PIPELINE = ("detect", "map", "caption", "post", "push")
"""Functions of Bongsu itself, in the order of the topology; others follow by name."""
_HOOKS_ENV = "# The addresses that functions answer requests at; written by `make generate` from their @on.http.\n"
READS = "bongsu/reads"
"""The annotation of a Deployment in another language that names what it takes; ours say so by @on."""
PUBLISHES = "bongsu/publishes"
"""The annotation of a Deployment with the event types that its function may publish."""
_MARKED = re.compile(r"<!-- hazards -->.*?<!-- /hazards -->")


def generate(root: Path) -> dict[Path, str]:
    """The files under `root` that are wholly or partly generated, with their wanted content."""
    manifests = {path: path.read_text() for path in sorted((root / "keda").glob("*.yaml"))}
    queues = {path.stem: wanted for path, text in manifests.items() if (wanted := _queues(text))}
    files = {path: _write_triggers(text, queues.get(path.stem, ())) for path, text in manifests.items()}
    files = {path: _write_crons(path, text) for path, text in files.items()}
    hooks = _hooks(manifests.values())
    names = [name for function in _in_order(queues) for name in queues[function]] + ([RESULTS] if hooks else [])
    for path, before in (("k8s/base/topology.yaml", "args:\n"), ("docker/compose.yaml", "      - apply\n")):
        files[root / path] = _write_list((root / path).read_text(), before, names)
    services = [_service(manifests[root / "keda" / f"{function}.yaml"], queues) for function in _in_order(queues)]
    files[root / "k8s/base/hooks.env"] = f"{_HOOKS_ENV}BONGSU_HOOKS={show_hooks(hooks)}\n"
    for overlay in sorted((root / "k8s/overlays").glob("*/kustomization.yaml")):
        files |= _write_users(overlay, services, hooks)
    hazards = f"<!-- hazards -->{', '.join(f'`{hazard}`' for hazard in HAZARDS)}<!-- /hazards -->"
    for path in sorted((root / "docs").glob("*.md")):
        files[path] = _MARKED.sub(hazards, path.read_text())
    files |= {root / f"docs/schema/{name}.json": text for name, text in event_schema.schemas().items()}
    files[root / "functions/catalogue/plurals.json"] = plural_rules.write_rules()
    groups = settings_page.read_groups(root)
    files[root / settings_page.PAGE] = settings_page.write_page(groups)
    files[root / settings_page.NAMES] = settings_page.write_names(groups)
    return files


def _in_order(functions: dict[str, tuple[str, ...]]) -> list[str]:
    return [*(f for f in PIPELINE if f in functions), *sorted(functions.keys() - set(PIPELINE))]


def _queues(manifest: str) -> tuple[str, ...]:
    """The queues of the function that a manifest starts; empty where it starts none."""
    if target := _target(manifest):
        return load_function(target).queues
    # A function in another language says what it takes.
    for document in yaml.safe_load_all(manifest):
        if document and document["kind"] == "Deployment" and (said := _annotation(document, READS)):
            name = document["metadata"]["name"].replace("-", "_")
            return tuple(queue_name(type_, name) for one in said for type_ in _types(one))
    return ()


def _annotation(deployment: dict[str, Any], name: str) -> list[str]:
    """The parts of an annotation, which commas separate."""
    return [*filter(None, map(str.strip, deployment["metadata"].get("annotations", {}).get(name, "").split(",")))]


def _hooks(manifests: Iterable[str]) -> tuple[Hook, ...]:
    """The hooks of all functions that manifests start."""
    targets = (command for manifest in manifests if (command := _target(manifest)))
    return one_each(hook for target in targets for hook in load_function(target).hooks)


def _target(manifest: str) -> str:
    """The function that a manifest starts; empty where it starts none."""
    for document in yaml.safe_load_all(manifest):
        if document and document["kind"] == "Deployment":
            command: list[str] = document["spec"]["template"]["spec"]["containers"][0]["command"]
            if command[:3] == ["python", "-m", "functions"]:
                return command[3]
    return ""


def _service(manifest: str, queues: dict[str, tuple[str, ...]]) -> permissions.Service:
    """The function that a manifest starts, as a broker user; its annotation lists the types that it may publish."""
    deployment = next(d for d in yaml.safe_load_all(manifest) if d and d["kind"] == "Deployment")
    publishes = [t for name in _annotation(deployment, PUBLISHES) for t in _types(name)]
    if target := _target(manifest):
        # Its CronJobs publish as its own user.
        publishes += [schedule.type for schedule in load_function(target).schedules]
    if _hooks([manifest]):
        publishes += [t for t in facts.DECLARED["answered"].types() if t not in publishes]
    name = deployment["metadata"]["name"].replace("-", "_")
    # A file's path, or a module's; in another language the Deployment's name.
    user = Path(target.removesuffix(".py").replace(".", "/")).name if target else name
    return permissions.Service(user, queues[name], tuple(publishes))


def _types(name: str) -> tuple[str, ...]:
    """Event types of a name in the annotation: those of a class (HazardSeen), or the name itself."""
    found = getattr(facts, name, None)
    return found.types() if isinstance(found, type) and issubclass(found, facts.Event) else (name,)


def _write_users(overlay: Path, services: list[permissions.Service], hooks: tuple[Hook, ...]) -> dict[Path, str]:
    """The broker's users of one overlay: their permissions, each service's file, and the Secret made from it."""
    wanted = permissions.definitions(services, hooks)
    secrets = overlay.parent / "secrets"
    lists = (f'  "{key}": [\n' + ",\n".join(f"    {json.dumps(v)}" for v in wanted[key]) + "\n  ]" for key in wanted)
    files = {secrets / "definitions.json.example": "{\n" + ",\n".join(lists) + "\n}\n"}
    lines = []
    for user in (u["name"] for u in wanted["users"] if u["name"] != permissions.KEDA):
        secret = permissions.secret_name(user)
        name = f"{secret.removeprefix('bongsu-')}.env"
        address = f"amqp://{user}:<{permissions.password_name(user)}-password>@rabbitmq:5672/"
        files[secrets / f"{name}.example"] = f"# What {user} signs in to RabbitMQ with.\nBONGSU_BROKER_URL={address}\n"
        lines.append(f"  - {{name: {secret}, envs: [secrets/{name}]}}\n")
    text = overlay.read_text()
    return files | {overlay: re.sub(r"(?:  - \{name: bongsu-broker\b.*\n)+", "".join(lines), text)}


def _write_triggers(manifest: str, queues: tuple[str, ...]) -> str:
    """The manifest with triggers for these queues; a new queue's are copied from the first one's."""
    head, found, body = manifest.partition("\n  triggers:\n")
    if not queues or not found:
        return manifest
    triggers = dict(_group(body))
    if list(triggers) == list(queues):
        return manifest
    first = next(iter(triggers))
    comment = body[: body.index("    - type:")]
    blocks = [triggers.get(q) or triggers[first].replace(f"queueName: {first},", f"queueName: {q},") for q in queues]
    return head + found + comment + "".join(blocks)


def _write_crons(path: Path, manifest: str) -> str:
    """The manifest with the times of its function's schedules in their CronJobs.

    Raises:
        ValueError: a schedule has no CronJob.
    """
    target = _target(manifest)
    for one in load_function(target).schedules if target else ():
        documents = manifest.split("\n---\n")
        found = [i for i, d in enumerate(documents) if f"function, tick, {one.name}," in d and "kind: CronJob" in d]
        if not found:
            example = f"bongsu function new {one.name} --schedule '{one.cron}'"
            raise ValueError(f"{path}: schedule {one.name!r} has no CronJob: copy it from what `{example}` writes")
        text = re.sub(r"(?m)^  schedule: .*$", f'  schedule: "{one.cron}"', documents[found[0]])
        documents[found[0]] = re.sub(r"(?m)^  timeZone: .*$", f'  timeZone: "{one.zone}"', text)
        manifest = "\n---\n".join(documents)
    return manifest


def _group(body: str) -> Iterator[tuple[str, str]]:
    """The triggers' text by queue, in order."""
    grouped: dict[str, str] = {}
    for block in re.findall(r"^    - type: .*\n(?:      .*\n)+", body, re.M):
        queue = re.search(r"queueName: ([^,]+),", block)
        assert queue is not None, block
        grouped[queue[1]] = grouped.get(queue[1], "") + block
    yield from grouped.items()


def _write_list(text: str, before: str, names: list[str]) -> str:
    """The text, with the YAML list of queues after `before` replaced and its indentation kept."""
    at = text.index(before) + len(before)
    listed = re.compile(r"( *)- [a-z][\w.-]*\n(?:\1- [a-z][\w.-]*\n)*").match(text, at)
    assert listed is not None, f"no list of queues after {before!r}"
    return text[:at] + "".join(f"{listed[1]}- {name}\n" for name in names) + text[listed.end() :]


def main() -> int:
    """Write the files that differ, or with `--check` only print their names."""
    differing = {path: text for path, text in generate(ROOT).items() if not path.is_file() or path.read_text() != text}
    is_check = "--check" in sys.argv[1:]
    for path, text in differing.items():
        print(f"{path.relative_to(ROOT)}: {'differs, run make generate' if is_check else 'written'}")
        if not is_check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if is_check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
