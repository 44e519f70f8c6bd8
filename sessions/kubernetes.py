"""Kubernetes as a receive server's `Backend`: workers are pods, records are Secrets; all state is in the cluster.

Nothing is counted here: the scheduler decides whether a pod fits, quotas whether it is allowed, and the pod's
readiness, from a watch, shows when it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from lightkube import AsyncClient
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node, Pod, ResourceQuota, Secret
from lightkube.types import PatchType

from sessions import cluster_capacity, pods
from sessions.backend import View
from sessions.cluster_api import ask, create, list_all
from sessions.dial import announce_end
from sessions.informer import Informer
from sessions.pool import WarmPool
from sessions.readiness import Readiness
from sessions.records import BackendError, Capacity, ConflictError, ExistsError, NoRoomError, Session, Worker
from sessions.session_secrets import RECORD_LABELS, from_secret, owned_by, secret_name, to_secret
from web.background import in_background

log = structlog.get_logger()

_ANSWER_S = 10.0
_SCHEDULER_S = 5.0
_QUOTA_RETRY_S = 0.5


class KubernetesBackend:
    """One namespace of a cluster."""

    def __init__(self, client: AsyncClient, class_label: str) -> None:
        """Prepare; `running` starts the watches.

        Args:
            client: for the namespace of the sessions.
            class_label: the node label with the hardware class.
        """
        self.view = View()
        self._client = client
        self._class_label = class_label
        self._secrets = Informer(client, Secret, RECORD_LABELS, changed=self._see_session, gone=self._lose_session)
        self._pods = Informer(client, Pod, pods.WORKER_LABELS, changed=self._see_pod, gone=self._lose_pod)
        self._nodes = Informer(client, Node, changed=lambda _: self.view.touch(), gone=lambda _: self.view.touch())
        self._readiness = Readiness(self._see_serving)
        self._quota_full_at = float("-inf")
        self._pool = WarmPool(client, self.view, self._pods)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[KubernetesBackend]:
        """Watch the cluster while this is open."""
        async with (
            contextlib.aclosing(self._client),
            in_background("nodes", self._nodes.run()),
            in_background("secrets", self._secrets.run()),
            in_background("pods", self._pods.run()),
            in_background("pool", self._pool.fill()),
        ):
            try:
                yield self
            finally:
                self._readiness.close()

    async def capacity(self) -> Capacity:
        await self._await_listed()
        quotas = await list_all(self._client, ResourceQuota)
        template = next(iter(await list_all(self._client, Deployment, pods.WORKER_LABELS)), None)
        running = [pod for pod in self._pods.objects.values() if pods.is_scheduled(pod)]
        nodes = list(self._nodes.objects.values())
        classes = cluster_capacity.Classes.of(template, self._class_label)
        try:
            return cluster_capacity.measure(self._client.namespace, quotas, nodes, running, classes)
        except ValueError as error:
            raise BackendError(str(error)) from None

    async def create(self, session: Session) -> Session:
        await self._await_listed()
        try:
            made = await create(self._client.create(to_secret(session)))
        except ExistsError:
            await self._read_again(session.id)
            raise
        self._secrets.put(made)
        return from_secret(made)

    async def replace(self, session: Session) -> Session:
        await self._await_listed()
        try:
            made = await ask(self._client.replace(to_secret(session)))
        except ConflictError:
            # Otherwise a retry would decide on the same old state.
            await self._read_again(session.id)
            raise
        self._secrets.put(made)
        if session.worker or session.upstream:
            await self._withdraw(session)
        return from_secret(made)

    async def delete(self, session_id: str) -> None:
        await self._await_listed()
        names = [name for name, pod in self._pods.objects.items() if pods.session_of(pod) == session_id]
        addresses = {worker.address for name in names if (worker := self.view.workers.get(name)) and worker.address}
        # First: the garbage collector ends pods as soon as the record is deleted.
        await asyncio.gather(*(announce_end(address) for address in addresses))
        with contextlib.suppress(ConflictError):
            await ask(self._client.delete(Secret, secret_name(session_id)))
        self._secrets.drop(secret_name(session_id), is_ours=True)
        await self._end(names)

    async def claim(self, worker: Worker, session_id: str) -> Worker:
        await self._await_listed()
        record = self._secrets.objects.get(secret_name(session_id))
        if record is None:
            raise ConflictError(session_id)
        patch_owner = owned_by(record)
        while True:
            pod = self._pods.objects.get(worker.name)
            if pod is None or not pods.is_idle(pod):
                raise ConflictError(worker.name)
            try:
                patch = pods.claim_patch(pod, session_id, patch_owner)
                made = await ask(self._client.patch(Pod, worker.name, patch, patch_type=PatchType.MERGE))
            except ConflictError:
                # Perhaps only its readiness has changed.
                await self._read_pod_again(worker.name)
                continue
            self._pods.put(made)
            return self._worker(made, worker)

    async def start(self, session: Session) -> Worker:
        await self._await_listed()
        record = self._secrets.objects.get(secret_name(session.id))
        if record is None:
            raise NoRoomError(f"session {session.id} has ended")
        owner = owned_by(record)
        # With a part of the record's uid: a repeated key may reuse the id of an ended session.
        name = f"{session.kind}-{session.id}-{owner.uid[:8]}-{session.restarts}"
        try:
            if name not in self._pods.objects:
                await self._create_pod(session, name)
            return await self._await_node(name)
        except NoRoomError:
            await self._pool.make_room(session, name)
            raise

    async def stop(self, worker: str) -> None:
        await self._end([worker])

    async def drain(self, is_drained: bool) -> None:
        raise BackendError("nodes of a cluster are drained with kubectl drain")

    async def refresh(self, session_id: str, worker: str) -> None:
        await self._await_listed()
        await self._read_again(session_id)
        await self._read_pod_again(worker)

    async def _create_pod(self, session: Session, name: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._quota_full_at < _QUOTA_RETRY_S:
            raise NoRoomError("the namespace's quota was full a moment ago")
        templates = await list_all(self._client, Deployment, pods.WORKER_LABELS)
        template = next((t for t in templates if pods.kind_of(t) == session.kind), None)
        if template is None:
            raise BackendError(f"no deployment makes workers of kind {session.kind}: k8s/sessions/workers.yaml has one")
        record = self._secrets.objects.get(secret_name(session.id))
        if record is None:
            raise NoRoomError(f"session {session.id} has ended")
        pod = pods.pod_for(session, name, template, owned_by(record), self._class_label)
        try:
            self._pods.put(await create(self._client.create(pod)))
        except ExistsError:
            # Another receive server was faster.
            await self._read_pod_again(name)
        except NoRoomError:
            self._quota_full_at = now
            raise

    async def _await_node(self, name: str) -> Worker:
        """Wait for the scheduler's decision; a pod that does not fit stays, to be bound as soon as it does."""

        def word() -> Worker | str | None:
            pod = self._pods.objects.get(name)
            if pod is None:
                return "it has been deleted"
            return self.view.workers.get(name) or pods.why_waiting(pod) or None

        found = await self.view.until(word, _SCHEDULER_S)
        if isinstance(found, Worker):
            return found
        raise NoRoomError(found or f"the scheduler has not looked at pod {name} in {_SCHEDULER_S:.0f} s")

    async def _withdraw(self, session: Session) -> None:
        """End a pod that is no longer needed: its session has a worker now, or is upstream."""
        asked = [
            name for name, pod in self._pods.objects.items()
            if pods.session_of(pod) == session.id and name != session.worker and not pods.is_scheduled(pod)
        ]  # fmt: skip
        await self._end(asked)

    async def _end(self, names: list[str]) -> None:
        for name in names:
            with contextlib.suppress(ConflictError):
                await ask(self._client.delete(Pod, name))
            self.view.drop_worker(name)

    async def _read_again(self, session_id: str) -> None:
        try:
            found = await ask(self._client.get(Secret, secret_name(session_id)))
        except ConflictError:
            self._secrets.drop(secret_name(session_id))
            return
        # Raises if a newer version has written a record that this one cannot read: then its worker must not be ended.
        from_secret(found)
        self._secrets.put(found)

    async def _read_pod_again(self, name: str) -> None:
        try:
            self._pods.put(await ask(self._client.get(Pod, name)))
        except ConflictError:
            self._pods.drop(name)

    def _see_session(self, secret: Secret) -> None:
        try:
            self.view.put(from_secret(secret))
        except BackendError as error:
            log.error("session_record_unreadable", reason=str(error))

    def _lose_session(self, secret: Secret) -> None:
        assert secret.metadata is not None
        self.view.drop_session((secret.metadata.name or "").removeprefix(secret_name("")))

    def _see_pod(self, pod: Pod) -> None:
        assert pod.metadata is not None
        worker = pods.to_worker(pod, self._classes_of(pod))
        if worker is None:
            self.view.drop_worker(pod.metadata.name or "")
        elif pod.metadata.deletionTimestamp is not None and worker.session not in self.view.sessions:
            self.view.drop_worker(worker.name)
        else:
            self.view.put(self._readiness.judge(worker))

    def _see_serving(self, worker: Worker) -> None:
        if (known := self.view.workers.get(worker.name)) is not None:
            self.view.put(self._readiness.judge(known))

    def _lose_pod(self, pod: Pod) -> None:
        assert pod.metadata is not None
        self._quota_full_at = float("-inf")
        self._pool.forget(pod.metadata.name or "")
        self._readiness.forget(pod.metadata.name or "")
        self.view.drop_worker(pod.metadata.name or "")

    def _classes_of(self, pod: Pod) -> tuple[str, ...]:
        node = self._nodes.objects.get((pod.spec and pod.spec.nodeName) or "")
        labels = (node.metadata.labels if node is not None and node.metadata is not None else None) or {}
        return (labels[self._class_label],) if self._class_label in labels else ()

    def _worker(self, pod: Pod, known: Worker) -> Worker:
        return pods.to_worker(pod, self._classes_of(pod)) or known

    async def _await_listed(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                for informer in (self._nodes, self._secrets, self._pods):
                    await informer.listed.wait()
        except TimeoutError:
            raise BackendError(f"the API server has not answered in {_ANSWER_S:.0f} s") from None
