"""The HTTP of the double's API server: get, list, watch, create, update, patch, delete, evict, under rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.kube.admission import is_allowed
from tests.kube.faults import Faults
from tests.kube.store import Change, Match, Object, StatusError, Store

KINDS = {
    ("", "pods"): "Pod", ("", "secrets"): "Secret", ("", "configmaps"): "ConfigMap", ("", "services"): "Service",
    ("", "resourcequotas"): "ResourceQuota", ("", "nodes"): "Node", ("", "namespaces"): "Namespace",
    ("", "serviceaccounts"): "ServiceAccount", ("", "limitranges"): "LimitRange",
    ("apps", "deployments"): "Deployment", ("apps", "replicasets"): "ReplicaSet",
    ("coordination.k8s.io", "leases"): "Lease", ("policy", "poddisruptionbudgets"): "PodDisruptionBudget",
    ("networking.k8s.io", "networkpolicies"): "NetworkPolicy", ("networking.k8s.io", "ingresses"): "Ingress",
    ("rbac.authorization.k8s.io", "roles"): "Role", ("rbac.authorization.k8s.io", "rolebindings"): "RoleBinding",
    ("rbac.authorization.k8s.io", "clusterroles"): "ClusterRole",
    ("rbac.authorization.k8s.io", "clusterrolebindings"): "ClusterRoleBinding",
    ("scheduling.k8s.io", "priorityclasses"): "PriorityClass",
}  # fmt: skip
PLURALS = {kind: plural for (_, plural), kind in KINDS.items()}
GLOBAL = {"nodes", "namespaces", "clusterroles", "clusterrolebindings", "priorityclasses"}
ADMIN = "admin"
"""The token that may do anything; any other is `NAMESPACE:NAME` of a service account."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about, by its path; `part` is a subresource."""

    verb: str
    group: str
    plural: str
    namespace: str
    name: str
    part: str

    @classmethod
    def of(cls, request: Request) -> Target:
        group, parts = request.path_params.get("group", ""), request.path_params["path"].strip("/").split("/")
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, part = (*parts, "", "")[:3]
        if (group, plural) not in KINDS:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        return cls(_verb(request, name), group, plural, namespace, name, part)

    def named(self, one: Object | None) -> Object:
        """An object with its kind, as it is answered."""
        version = f"{self.group}/v1" if self.group else "v1"
        return {"apiVersion": version, "kind": KINDS[self.group, self.plural], **(one or {})}


class Api:
    """Answers requests over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._faults = Faults()

    def app(self) -> Starlette:
        both = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[
            Route("/api/{version}/{path:path}", self._answer, methods=both),
            Route("/apis/{group}/{version}/{path:path}", self._answer, methods=both),
            Route("/faults", self._set_faults, methods=["PUT"]),
            Route("/version", lambda _: JSONResponse({"major": "1", "minor": "36"})),
        ])  # fmt: skip

    async def _answer(self, request: Request) -> Response:
        try:
            target = Target.of(request)
            self._authorize(request, target)
            fault = self._faults.pick(target.verb, target.plural)
            await asyncio.sleep(fault.delay_s)
            if fault.code and not fault.is_done:
                raise fault.refusal()
            if target.verb in ("list", "watch"):
                return self._read(target, request, fault.watch_s)
            response = await self._change(target, request)
            if fault.code:
                raise fault.refusal()
            return response
        except StatusError as error:
            return JSONResponse(error.body, error.code)

    async def _set_faults(self, request: Request) -> Response:
        if request.headers.get("authorization", "") != f"Bearer {ADMIN}":
            return JSONResponse({}, 403)
        self._faults.set(await request.json())
        return JSONResponse({})

    async def _change(self, target: Target, request: Request) -> Response:
        plural, namespace, name = target.plural, target.namespace, target.name
        body = await _body(request)
        match target.verb:
            case "get":
                done = self._store.get(plural, namespace, name)
            case "create" if target.part == "eviction":
                self._store.delete(plural, namespace, name)
                done = {}
            case "create":
                return JSONResponse(target.named(self._store.create(plural, namespace, body)), 201)
            case "update":
                done = self._store.update(plural, namespace, name, body, target.part)
            case "patch":
                if request.headers.get("content-type") != "application/merge-patch+json":
                    raise StatusError(415, "UnsupportedMediaType", "this takes application/merge-patch+json alone")
                done = self._store.patch(plural, namespace, name, body, target.part)
            case _:
                grace = body.get("gracePeriodSeconds", request.query_params.get("gracePeriodSeconds"))
                uid = body.get("preconditions", {}).get("uid", "")
                self._store.delete(plural, namespace, name, None if grace is None else int(grace), uid)
                return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        return JSONResponse(target.named(done))

    def _authorize(self, request: Request, target: Target) -> None:
        account = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not account:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        resource = target.plural + (f"/{target.part}" if target.part else "")
        if account != ADMIN and not is_allowed(
            self._store, account, verb=target.verb, group=target.group, resource=resource,
            namespace=target.namespace, name=target.name,
        ):  # fmt: skip
            where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
            raise StatusError(
                403, "Forbidden",
                f'{resource} "{target.name}" is forbidden: User "system:serviceaccount:{account}" cannot {target.verb} '
                f'resource "{resource}" in API group "{target.group}" {where}',
            )  # fmt: skip

    def _read(self, target: Target, request: Request, longest_s: float) -> Response:
        query = request.query_params
        match = _selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if target.verb == "watch":
            timeout_s = min(longest_s, float(query.get("timeoutSeconds") or 300))
            lines = self._watch(target, match, query.get("resourceVersion"), timeout_s)
            return StreamingResponse(lines, media_type="application/json")
        items = sorted(self._store.all(target.plural, target.namespace, match), key=lambda o: o["metadata"]["name"])
        named = target.named({"metadata": {"resourceVersion": str(self._store.version)}, "items": items})
        return JSONResponse({**named, "kind": f"{named['kind']}List"})

    async def _watch(self, target: Target, match: Match, version: str | None, timeout_s: float) -> AsyncIterator[bytes]:
        queue = self._store.subscribe()
        try:
            try:
                missed = self._store.since(int(version)) if version not in (None, "", "0") else None
            except StatusError as error:
                yield _line("ERROR", error.body)
                return
            if missed is None:
                for one in self._store.all(target.plural, target.namespace, match):
                    yield _line("ADDED", target.named(one))
            for change in missed or ():
                if line := _event(change, target, match):
                    yield line
            async with asyncio.timeout(timeout_s):
                while True:
                    if line := _event(await queue.get(), target, match):
                        yield line
        except TimeoutError:
            return
        finally:
            self._store.unsubscribe(queue)


def _event(change: Change, target: Target, match: Match) -> bytes:
    """The line that a watch gets for a change; what its selector has stopped matching counts as deleted."""
    either = change.after or change.before
    if either is None or change.plural != target.plural:
        return b""
    if target.namespace not in ("", either["metadata"].get("namespace", "")):
        return b""
    was = change.before is not None and match(change.before)
    if change.after is not None and match(change.after):
        return _line("MODIFIED" if was else "ADDED", target.named(change.after))
    return _line("DELETED", target.named(either)) if was else b""


def _verb(request: Request, name: str) -> str:
    if request.method == "GET":
        is_watch = request.query_params.get("watch") in ("true", "1")
        return "watch" if is_watch and not name else "get" if name else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]


async def _body(request: Request) -> Any:
    raw = await request.body()
    try:
        return json.loads(raw) if raw else {}
    except ValueError as error:
        raise StatusError(400, "BadRequest", f"the body is not JSON: {error}") from None


def _selector(labels: str, fields: str) -> Match:
    """`a=b,c!=d,e,!f` of labels, `metadata.name=x` of fields."""
    wanted = [part for part in labels.split(",") if part]
    of_fields = [part.partition("=") for part in fields.split(",") if part]

    return lambda one: (
        all(_has(one, part) for part in wanted) and all(_field(one, path) == value for path, _, value in of_fields)
    )


def _has(one: Object, requirement: str) -> bool:
    own = one["metadata"].get("labels") or {}
    if "!=" in requirement:
        key, _, value = requirement.partition("!=")
        return own.get(key) != value
    if "=" in requirement:
        key, _, value = requirement.replace("==", "=").partition("=")
        return own.get(key) == value
    return requirement[1:] not in own if requirement.startswith("!") else requirement in own


def _field(one: Object, path: str) -> str:
    found: Any = one
    for key in path.split("."):
        found = (found or {}).get(key, "")
    return str(found)


def _line(kind: str, one: Object) -> bytes:
    return json.dumps({"type": kind, "object": one}).encode() + b"\n"
