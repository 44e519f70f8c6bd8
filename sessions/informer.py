"""A list of a cluster's objects, kept current by a watch; the Kubernetes backend runs one for each resource."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx2
import msgspec
import structlog
from lightkube import AsyncClient
from lightkube.core.resource import Resource

from functions.backoff import backoff_s

log = structlog.get_logger()

_RELIST_S = 300.0
"""A connection that died silently is noticed after at most this long."""

R = TypeVar("R", bound=Resource)


class Informer(Generic[R]):
    """The last known objects of one resource, by name.

    While the API server is down they stay unchanged: the cluster's pods run without it.
    """

    def __init__(
        self,
        client: AsyncClient,
        resource: type[R],
        labels: dict[str, Any] | None = None,
        *,
        changed: Callable[[R], None],
        gone: Callable[[R], None],
    ) -> None:
        """Prepare; `run` starts it.

        Args:
            client: for the namespace.
            resource: the resource to list and watch.
            labels: only objects with these.
            changed: called with each object that is new or newer.
            gone: called with the last state of each deleted object.
        """
        self.objects: dict[str, R] = {}
        self.listed = asyncio.Event()
        """Set while the state is current, from a reachable API server."""
        self._client, self._resource, self._labels = client, resource, labels
        self._changed, self._gone = changed, gone
        self._removed: set[str] = set()
        """Uids of objects deleted by us, while the watch may still deliver older states of them."""

    async def run(self) -> None:
        """List, watch, and list again whenever the watch breaks or its version is too old."""
        for attempt in itertools.count():
            try:
                async with asyncio.timeout(_RELIST_S):
                    await self._watch(await self._list())
            except TimeoutError:
                continue
            except (httpx2.HTTPError, msgspec.DecodeError) as error:
                self.listed.clear()
                log.warning("watch_lost", resource=self._resource.__name__, reason=str(error) or type(error).__name__)
                await asyncio.sleep(backoff_s(min(attempt, 3), first_s=0.1, longest_s=1.0))

    def put(self, item: R) -> None:
        """Store a state from a read or an answer, unless a newer one is known."""
        name, uid, version = identity(item)
        if uid in self._removed:
            return
        known = self.objects.get(name)
        if known is not None:
            _, known_uid, known_version = identity(known)
            if known_uid == uid and known_version >= version:
                return
        self.objects[name] = item
        self._changed(item)

    def drop(self, name: str, *, is_ours: bool = False) -> None:
        """Remove an object; `is_ours`: we deleted it, and the watch has not reported it yet."""
        item = self.objects.pop(name, None)
        if item is not None:
            if is_ours:
                self._removed.add(identity(item)[1])
            self._gone(item)

    async def _list(self) -> str:
        listing: Any = self._client.list(self._resource, labels=self._labels)
        found = [item async for item in listing]
        names = {identity(item)[0] for item in found}
        for name in [name for name in self.objects if name not in names]:
            self.drop(name)
        self._removed &= {identity(item)[1] for item in found}
        for item in found:
            self.put(item)
        self.listed.set()
        return str(listing.resourceVersion)

    async def _watch(self, version: str) -> None:
        watching: Any = self._client.watch(
            self._resource,
            labels=self._labels,
            resource_version=version,
        )
        async for kind, item in watching:
            if kind != "DELETED":
                self.put(item)
                continue
            name, uid, _ = identity(item)
            self._removed.discard(uid)
            if (known := self.objects.get(name)) is not None and identity(known)[1] == uid:
                self.drop(name)


def identity(item: Resource) -> tuple[str, str, int]:
    """Name, uid and version of an object from the API server."""
    meta = item.metadata  # type: ignore[attr-defined]
    # Versions increase and may be compared as numbers: KEP-5504, Kubernetes 1.35.
    return meta.name, meta.uid or "", int(meta.resourceVersion or 0)
