"""The HTTP of the double's API server: get, list, watch, create, update, patch, delete, evict, under rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.kube.admission import is_allowed
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


class Api:
    """Answers requests over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.watches = 0

    def app(self) -> Starlette:
        both = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[
            Route("/api/{version}/{path:path}", self._answer, methods=both),
            Route("/apis/{group}/{version}/{path:path}", self._answer, methods=both),
            Route("/version", lambda _: JSONResponse({"major": "1", "minor": "36"})),
        ])  # fmt: skip

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except StatusError as error:
            return JSONResponse(error.body, error.code)

    async def _handle(self, request: Request) -> Response:
        group = request.path_params.get("group", "")
        parts = request.path_params["path"].strip("/").split("/")
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, part = (*parts, "", "")[:3]
        if (group, plural) not in KINDS:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        verb = _verb(request, name)
        self._authorize(request, verb, group, plural + (f"/{part}" if part else ""), namespace, name)
        match (request.method, bool(name)):
            case ("GET", True):
                return self._one(group, request, self._store.get(plural, namespace, name))
            case ("GET", False):
                return self._read(group, plural, namespace, request)
            case ("DELETE", True):
                options = await _body(request)
                grace = options.get("gracePeriodSeconds", request.query_params.get("gracePeriodSeconds"))
                uid = options.get("preconditions", {}).get("uid", "")
                self._store.delete(plural, namespace, name, None if grace is None else int(grace), uid)
                return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"})
            case ("POST", True) if part == "eviction":
                self._store.delete(plural, namespace, name)
                return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
            case ("POST", False):
                return self._one(group, request, self._store.create(plural, namespace, await _body(request)), 201)
            case ("PUT", True):
                done = self._store.update(plural, namespace, name, await _body(request), part)
                return self._one(group, request, done)
            case ("PATCH", True):
                if request.headers.get("content-type") != "application/merge-patch+json":
                    raise StatusError(
                        415, "UnsupportedMediaType", "this double takes application/merge-patch+json alone"
                    )
                return self._one(group, request, self._store.patch(plural, namespace, name, await _body(request), part))
        raise StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _authorize(self, request: Request, verb: str, group: str, resource: str, namespace: str, name: str) -> None:
        account = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not account:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if account != ADMIN and not is_allowed(self._store, account, verb, group, resource, namespace, name):
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            raise StatusError(
                403, "Forbidden",
                f'{resource} "{name}" is forbidden: User "system:serviceaccount:{account}" cannot {verb} resource '
                f'"{resource}" in API group "{group}"{where}',
            )  # fmt: skip

    def _read(self, group: str, plural: str, namespace: str, request: Request) -> Response:
        query = request.query_params
        match = _selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if query.get("watch") in ("true", "1"):
            version = query.get("resourceVersion")
            return StreamingResponse(
                self._watch(group, plural, namespace, match, version, float(query.get("timeoutSeconds") or 300)),
                media_type="application/json",
            )
        items = sorted(self._store.all(plural, namespace, match), key=lambda o: o["metadata"]["name"])
        kind = KINDS[group, plural]
        return JSONResponse({
            "kind": f"{kind}List", "apiVersion": _api_version(group),
            "metadata": {"resourceVersion": str(self._store.version)}, "items": items,
        })  # fmt: skip

    async def _watch(
        self, group: str, plural: str, namespace: str, match: Match, version: str | None, timeout_s: float
    ) -> AsyncIterator[bytes]:
        queue = self._store.subscribe()
        self.watches += 1
        try:
            try:
                missed = self._store.since(int(version)) if version not in (None, "", "0") else None
            except StatusError as error:
                yield _line("ERROR", error.body)
                return
            if missed is None:
                for one in self._store.all(plural, namespace, match):
                    yield _line("ADDED", self._named(group, plural, one))
            for change in missed or ():
                if line := self._event(change, group, plural, namespace, match):
                    yield line
            async with asyncio.timeout(timeout_s):
                while True:
                    if line := self._event(await queue.get(), group, plural, namespace, match):
                        yield line
        except TimeoutError:
            return
        finally:
            self.watches -= 1
            self._store.unsubscribe(queue)

    def _event(self, change: Change, group: str, plural: str, namespace: str, match: Match) -> bytes:
        """What a watch is told of a change: of what it does not select any more that it was deleted."""
        either = change.after or change.before
        if change.plural != plural or either is None or namespace not in ("", either["metadata"].get("namespace", "")):
            return b""
        was = change.before is not None and match(change.before)
        is_ = change.after is not None and match(change.after)
        if is_:
            return _line("MODIFIED" if was else "ADDED", self._named(group, plural, change.after))
        if was:
            return _line("DELETED", self._named(group, plural, change.after or change.before))
        return b""

    def _named(self, group: str, plural: str, one: Object | None) -> Object:
        return {"apiVersion": _api_version(group), "kind": KINDS[group, plural], **(one or {})}

    def _one(self, group: str, request: Request, one: Object, status: int = 200) -> Response:
        plural = next(p for p in request.path_params["path"].split("/") if (group, p) in KINDS and p != "namespaces")
        return JSONResponse(self._named(group, plural, one), status)


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
    """`a=b,c!=d,e` and `in (…)` of labels, `metadata.name=x` of fields."""
    wanted = [part for part in labels.split(",") if part]
    of_fields = [part.partition("=") for part in fields.split(",") if part]

    def match(one: Object) -> bool:
        own = one["metadata"].get("labels") or {}
        for part in wanted:
            if "!=" in part:
                key, _, value = part.partition("!=")
                if own.get(key) == value:
                    return False
            elif "=" in part:
                key, _, value = part.replace("==", "=").partition("=")
                if own.get(key) != value:
                    return False
            elif part.startswith("!"):
                if part[1:] in own:
                    return False
            elif part not in own:
                return False
        return all(_field(one, path) == value for path, _, value in of_fields)

    return match


def _field(one: Object, path: str) -> str:
    found: Any = one
    for key in path.split("."):
        found = (found or {}).get(key, "")
    return str(found)


def _line(kind: str, one: Object) -> bytes:
    return json.dumps({"type": kind, "object": one}).encode() + b"\n"


def _api_version(group: str) -> str:
    return {"": "v1"}.get(group, f"{group}/v1")
