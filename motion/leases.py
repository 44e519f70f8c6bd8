"""How nodes on Kubernetes know each other: each renews its own Lease, and reads those of the others."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

from functions.event import utc_now
from functions.settings import SettingsError
from motion.settings import Settings
from motion.sharing import NeighboursUnavailable, Node

# urllib instead of a Kubernetes client: it makes only three requests, and the smallest client has 20 MB.

_LABELS = {"app.kubernetes.io/name": "motion", "app.kubernetes.io/part-of": "bongsu"}
_REGION, _READING = "bongsu/region", "bongsu/reading"
_TIMEOUT_S = 5.0
_BEATS = 5  # looks in the duration of a lease: four may fail before a node counts as down
_FIXES = {
    401: "the token is not known: is BONGSU_LEASE_ACCOUNT of this cluster?",
    403: "the ServiceAccount may not: apply the Role `motion` of k8s/base/accounts.yaml",
    404: "no such namespace, or no API server: check BONGSU_LEASE_URL",
}


class Leases:
    """Neighbours through Kubernetes' API server.

    Clocks of different nodes are never compared: a lease is live as long as it keeps changing, by this node's own
    monotonic clock, and how long it was held is the difference of two times that its holder wrote.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Read the account's folder; no request is made yet.

        Raises:
            SettingsError: the account's files are missing.
        """
        self._node, self._region = settings.node, settings.region
        self._lease_s = float(settings.lease_s)
        self.beat_s = self._lease_s / _BEATS
        self._clock, self._now = clock, now
        self._account = settings.lease_account
        namespace = _read(self._account / "namespace")
        url = settings.lease_url.rstrip("/")
        self._url = f"{url}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if url.startswith("https://"):
            handlers.append(urllib.request.HTTPSHandler(context=_trust(self._account / "ca.crt")))
        self._opener = urllib.request.build_opener(*handlers)
        self._seen: dict[str, tuple[str, float]] = {}
        self._looked_at_s = -math.inf
        self._held_from_s: float | None = None

    async def look(self, reading: Collection[str] = ()) -> Sequence[Node]:
        """Renew this node's lease, and find the nodes whose leases are live, this one first."""
        return await asyncio.to_thread(self._look, reading)

    def _look(self, reading: Collection[str]) -> list[Node]:
        selector = ",".join(f"{name}%3D{value}" for name, value in _LABELS.items())
        items = self._ask("GET", f"{self._url}?labelSelector={selector}").get("items") or []
        leases = {lease["spec"].get("holderIdentity", ""): lease for lease in items if lease.get("spec")}
        at_s = self._clock()
        deaf_s = at_s - self._looked_at_s - self.beat_s
        if deaf_s > self.beat_s:
            # A node is not down because it was silent while this node could not reach the server.
            self._seen = {name: (renewed, seen_at_s + deaf_s) for name, (renewed, seen_at_s) in self._seen.items()}
        if deaf_s > self._lease_s - self.beat_s:
            self._held_from_s = None  # the other nodes have declared this node down
        own = leases.pop(self._node, None)
        if self._held_from_s is None:
            self._held_from_s = at_s - self._held_before_s(own)
        held_s = at_s - self._held_from_s
        self._renew(own, held_s, reading)
        self._looked_at_s = at_s
        mine = Node(self._node, self._region, held_s >= self._lease_s)
        return [mine, *(_node(name, lease) for name, lease in leases.items() if self._is_live(name, lease, at_s))]

    def _is_live(self, name: str, lease: dict[str, Any], at_s: float) -> bool:
        renewed = str(lease["spec"].get("renewTime"))
        if name not in self._seen or self._seen[name][0] != renewed:
            self._seen[name] = renewed, at_s
        return bool(name) and at_s - self._seen[name][1] < float(lease["spec"].get("leaseDurationSeconds") or 0)

    def _held_before_s(self, own: dict[str, Any] | None) -> float:
        """How long this node's previous process held the lease, if it did until recently."""
        if own is None or not 0 <= (self._now() - _time(own, "renewTime")).total_seconds() < self._lease_s:
            return 0.0
        return max(0.0, (self._now() - _time(own, "acquireTime")).total_seconds())

    def _renew(self, own: dict[str, Any] | None, held_s: float, reading: Collection[str]) -> None:
        now = self._now()
        name = f"motion-{self._node}"
        spec = {
            "holderIdentity": self._node,
            "leaseDurationSeconds": int(self._lease_s),
            "acquireTime": _text(now - timedelta(seconds=held_s)),
            "renewTime": _text(now),
        }
        annotations = {_REGION: self._region, _READING: " ".join(sorted(reading))}
        metadata: dict[str, Any] = {"name": name, "labels": _LABELS, "annotations": annotations}
        if own is not None:
            metadata["resourceVersion"] = own["metadata"]["resourceVersion"]
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        # 409: a pod that is being replaced has renewed it meanwhile, in this node's name.
        if own is None:
            self._ask("POST", self._url, lease, or_status=409)
        else:
            self._ask("PUT", f"{self._url}/{name}", lease, or_status=409)

    def _ask(self, method: str, url: str, body: object = None, or_status: int | None = None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            # Read each time: the kubelet renews the token every hour.
            headers["Authorization"] = f"Bearer {_read(self._account / 'token')}"
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url, data, headers, method=method)
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            if error.code == or_status:
                return {}
            raise NeighboursUnavailable(
                f"{method} leases: {error.code}: {_FIXES.get(error.code, error.reason)}"
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise NeighboursUnavailable(f"{method} leases: no answer from the API server: {reason}") from None


def _node(name: str, lease: dict[str, Any]) -> Node:
    held = _time(lease, "renewTime") - _time(lease, "acquireTime")
    annotations = lease["metadata"].get("annotations") or {}
    reading = frozenset(annotations[_READING].split()) if _READING in annotations else None
    is_settled = held.total_seconds() >= float(lease["spec"].get("leaseDurationSeconds") or 0)
    return Node(name, annotations.get(_REGION, ""), is_settled, reading)


def _time(lease: dict[str, Any], key: str) -> datetime:
    try:
        return datetime.fromisoformat(lease["spec"][key])
    except (KeyError, TypeError, ValueError):
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"BONGSU_LEASE_ACCOUNT: {path}: {error.strerror}: mount the account's token") from None


def _trust(path: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as error:
        raise SettingsError(f"BONGSU_LEASE_ACCOUNT: {path}: not a certificate: {error}") from None
