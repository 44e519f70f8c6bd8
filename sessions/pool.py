"""The warm pool of a cluster: it is filled while no session waits, and shrinks if one does; the backend runs it."""

from __future__ import annotations

import contextlib
from collections import Counter

import structlog
from lightkube import AsyncClient
from lightkube.resources.core_v1 import Pod
from lightkube.types import PatchType

from sessions import pods
from sessions.backend import View
from sessions.catalogue import KINDS
from sessions.cluster_api import ask
from sessions.informer import Informer
from sessions.metrics import pool_pods
from sessions.records import BackendError, ConflictError, Session

log = structlog.get_logger()

_POOL_S = 1.0
_VICTIMS_MAX = 3
_EVICTED = "none"
"""Set in place of a session's id on an idle worker that makes room; the keeper ends a worker with it."""


class WarmPool:
    """Idle workers. A Deployment makes their pods; this decides when one may be scheduled, and which one ends."""

    def __init__(self, client: AsyncClient, view: View, known: Informer[Pod]) -> None:
        self._view = view
        self._client = client
        self._pods = known
        self._victims: set[str] = set()
        self._victims_for: Counter[str] = Counter()

    def forget(self, pod: str) -> None:
        """Remove a deleted pod: workers ended for it no longer count."""
        self._victims_for.pop(pod, None)

    async def fill(self) -> None:
        """Ungate pods of the warm pool while no session waits for the room that they would take."""
        while True:
            self._measure()
            gated = [pod for pod in self._pods.objects.values() if pods.is_gated(pod)]
            if gated and self._pods.listed.is_set() and not self._has_line():
                for pod in gated:
                    await self._lift_gate(pod)
            await self._view.changed(_POOL_S)

    def _measure(self) -> None:
        counted = Counter(pods.kind_name(pod) for pod in self._pods.objects.values() if pods.is_idle(pod))
        for kind in KINDS:
            pool_pods.labels(kind).set(counted[kind])

    async def _lift_gate(self, pod: Pod) -> None:
        assert pod.metadata is not None
        try:
            patch = pods.lift_gate_patch(pod)
            made = await ask(self._client.patch(Pod, pod.metadata.name or "", patch, patch_type=PatchType.MERGE))
        except (ConflictError, BackendError) as error:
            log.info("pool_not_filled", reason=str(error))
            return
        self._pods.put(made)

    def _has_line(self) -> bool:
        """Whether a session waits that any node could serve; one with special needs may wait long and is ignored."""
        waiting = (s for s in self._view.sessions.values() if not s.worker and not s.upstream)
        return any(not session.node_class and not session.gpu for session in waiting)

    async def make_room(self, session: Session, name: str) -> None:
        """End an idle worker of another kind to make room; only a few for each session, as it may still not fit."""
        self._victims &= self._pods.objects.keys()
        if self._victims or self._victims_for[name] >= _VICTIMS_MAX:
            return
        for worker in self._view.workers.values():
            pod = self._pods.objects[worker.name]
            if worker.kind == session.kind or not pods.is_idle(pod):
                continue
            self._victims.add(worker.name)
            self._victims_for[name] += 1
            with contextlib.suppress(ConflictError):
                patch = pods.claim_patch(pod, _EVICTED, None)
                await ask(self._client.patch(Pod, worker.name, patch, patch_type=PatchType.MERGE))
                await ask(self._client.delete(Pod, worker.name))
            return
