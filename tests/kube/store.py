"""What the API server of the double keeps: objects with versions, their history for watches, and admission."""

from __future__ import annotations

import asyncio
import copy
import secrets
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Match = Callable[[Object], bool]


class StatusError(Exception):
    """A refusal, as the API server words it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    @property
    def body(self) -> Object:
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": str(self), "reason": self.reason, "code": self.code,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """One step of history; `before` or `after` is None where it was created or deleted."""

    version: int
    plural: str
    before: Object | None
    after: Object | None


Admission = Callable[[str, Object, Object | None], None]


class Store:
    """Objects by plural, namespace and name. Every method is atomic: it runs on one loop and never waits."""

    def __init__(self, history: int = 2000) -> None:
        self.version = 100
        self.admission: list[Admission] = []
        """Called with the plural, the object as it would be and as it was; they may change or refuse it."""
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._watches: set[asyncio.Queue[Change]] = set()

    def all(self, plural: str, namespace: str = "", match: Match = lambda _: True) -> Iterator[Object]:
        """Those of a plural, of all namespaces if none is named; not to be changed."""
        for (its_plural, its_namespace, _), found in list(self._objects.items()):
            if its_plural == plural and namespace in ("", its_namespace) and match(found):
                yield found

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        return self._objects.get((plural, namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """Raises StatusError 404."""
        if (found := self.find(plural, namespace, name)) is None:
            raise StatusError(404, "NotFound", f'{plural} "{name}" not found')
        return found

    def create(self, plural: str, namespace: str, given: Object) -> Object:
        made = copy.deepcopy(given)
        meta = made.setdefault("metadata", {})
        if not meta.get("name"):
            if not meta.get("generateName"):
                raise StatusError(422, "Invalid", "metadata.name: Required value: name or generateName is required")
            meta["name"] = meta["generateName"] + secrets.token_hex(3)[:5]
        if meta.get("resourceVersion"):
            raise StatusError(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        if self.find(plural, namespace, meta["name"]) is not None:
            raise StatusError(409, "AlreadyExists", f'{plural} "{meta["name"]}" already exists')
        if namespace:
            meta["namespace"] = namespace
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now()
        for admit in self.admission:
            admit(plural, made, None)
        return self._put(plural, namespace, None, made)

    def update(self, plural: str, namespace: str, name: str, given: Object, part: str = "") -> Object:
        """Replace an object, or its `status`; a resourceVersion in it must be the current one.

        Raises:
            StatusError: 404, 409 where it is older, 422 where the pod's spec differs.
        """
        current = self.get(plural, namespace, name)
        wanted = given.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != current["metadata"]["resourceVersion"]:
            raise StatusError(
                409, "Conflict",
                f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified; '
                "please apply your changes to the latest version and try again",
            )  # fmt: skip
        if part == "status":
            changed = {**copy.deepcopy(current), "status": copy.deepcopy(given.get("status", {}))}
        else:
            changed = copy.deepcopy(given)
            if plural in ("pods", "deployments", "nodes", "resourcequotas"):
                changed["status"] = copy.deepcopy(current.get("status", {}))
            if plural == "pods" and part != "binding" and _ungated(changed) != _ungated(current):
                raise StatusError(
                    422, "Invalid", f'Pod "{name}" is invalid: spec: Forbidden: pod updates may not change it'
                )
            for admit in self.admission:
                admit(plural, changed, current)
        for fixed in ("uid", "creationTimestamp", "name", "namespace", "deletionTimestamp"):
            if fixed in current["metadata"]:
                changed["metadata"][fixed] = current["metadata"][fixed]
        changed["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
        if changed == current:
            return current
        return self._put(plural, namespace, current, changed)

    def patch(self, plural: str, namespace: str, name: str, patch: Object, part: str = "") -> Object:
        """A JSON merge patch (RFC 7386)."""
        return self.update(plural, namespace, name, merge(self.get(plural, namespace, name), patch), part)

    def delete(self, plural: str, namespace: str, name: str, grace_s: int | None = None, uid: str = "") -> None:
        """Remove it; a pod on a node only when its kubelet has ended it."""
        current = self.get(plural, namespace, name)
        if uid and uid != current["metadata"]["uid"]:
            raise StatusError(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        is_running = plural == "pods" and current["spec"].get("nodeName")
        if is_running and grace_s != 0 and not is_over(current):
            if "deletionTimestamp" not in current["metadata"]:
                doomed = copy.deepcopy(current)
                seconds = current["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
                doomed["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": seconds}
                self._put(plural, namespace, current, doomed)
            return
        del self._objects[plural, namespace, name]
        self.version += 1
        last = copy.deepcopy(current)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Change(self.version, plural, last, None))

    def forget_history(self) -> None:
        """As when etcd is compacted: a watch from before must list again."""
        self._history.clear()

    def since(self, version: int) -> list[Change]:
        """What changed after a version.

        Raises:
            StatusError: 410, it is too old.
        """
        oldest = self._history[0].version if self._history else self.version + 1
        if version < oldest - 1:
            raise StatusError(410, "Expired", f"too old resource version: {version} ({oldest})")
        return [change for change in self._history if change.version > version]

    def subscribe(self) -> asyncio.Queue[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watches.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[Change]) -> None:
        self._watches.discard(queue)

    def _put(self, plural: str, namespace: str, before: Object | None, after: Object) -> Object:
        self.version += 1
        after["metadata"]["resourceVersion"] = str(self.version)
        self._objects[plural, namespace, after["metadata"]["name"]] = after
        self._tell(Change(self.version, plural, before, after))
        return after

    def _tell(self, change: Change) -> None:
        self._history.append(change)
        for queue in self._watches:
            queue.put_nowait(change)


def _ungated(pod: Object) -> Object:
    """Its spec less what may be changed of it: scheduling gates may be lifted."""
    return {key: value for key, value in pod["spec"].items() if key != "schedulingGates"}


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386; neither is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def is_over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def quantity(text: Any) -> float:
    """`500m`, `64Mi`, `2`."""
    text = str(text)
    for suffix, factor in (
        ("Ki", 2**10),
        ("Mi", 2**20),
        ("Gi", 2**30),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
    ):
        if text.endswith(suffix):
            return float(text[: -len(suffix)]) * factor
    return float(text)


def requests_of(pod: Object) -> dict[str, float]:
    """What its containers ask for in all; a limit without a request is one."""
    total: dict[str, float] = {}
    for container in pod["spec"]["containers"]:
        resources = container.get("resources", {})
        for name, amount in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            total[name] = total.get(name, 0.0) + quantity(amount)
    return total
