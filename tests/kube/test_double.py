"""The double keeps the API server's rules, as a client of lightkube sees them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.models.core_v1 import Container, PodSpec, ResourceQuotaSpec, ResourceRequirements
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, ResourceQuota, Secret
from lightkube.types import PatchType

from sessions.informer import Informer
from tests.kube.admission import Admission
from tests.kube.api import ADMIN, Api
from tests.kube.controllers import Controllers
from tests.kube.store import Store
from tests.sessions.cluster import free_port


@contextlib.asynccontextmanager
async def _serving(store: Store, port: int) -> AsyncIterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(Api(store).app(), port=port, log_level="error", timeout_graceful_shutdown=0, lifespan="off")
    )
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store()
    Admission(store)
    controllers = asyncio.create_task(Controllers(store).run())
    store.create("namespaces", "", {"metadata": {"name": "room"}})
    yield store
    controllers.cancel()
    await asyncio.wait([controllers])
    assert controllers.cancelled()


@pytest.fixture
async def client(store: Store) -> AsyncIterator[AsyncClient]:
    port = free_port()
    config = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "x", "user": {"token": ADMIN}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "room"}}],
    }
    async with _serving(store, port), AsyncClient(KubeConfig.from_dict(config)) as client:
        yield client


async def test_an_older_version_is_refused(client: AsyncClient) -> None:
    made = await client.create(ConfigMap(metadata=ObjectMeta(name="a"), data={"n": "1"}))
    made.data = {"n": "2"}
    await client.replace(made)
    for change in (client.replace(made), client.patch(ConfigMap, "a", _versioned(made), patch_type=PatchType.MERGE)):
        with pytest.raises(ApiError) as refused:
            await change
        assert (refused.value.status.code, refused.value.status.reason) == (409, "Conflict")
    with pytest.raises(ApiError) as again:
        await client.create(ConfigMap(metadata=ObjectMeta(name="a")))
    assert again.value.status.reason == "AlreadyExists"


async def test_of_many_claims_of_one_version_one_wins(client: AsyncClient) -> None:
    made = await client.create(ConfigMap(metadata=ObjectMeta(name="a")))
    patches = (
        client.patch(ConfigMap, "a", {**_versioned(made), "data": {"owner": str(n)}}, patch_type=PatchType.MERGE)
        for n in range(50)
    )
    answers = await asyncio.gather(*patches, return_exceptions=True)
    assert sum(1 for answer in answers if isinstance(answer, ConfigMap)) == 1


async def test_a_version_that_is_forgotten_is_gone(client: AsyncClient, store: Store) -> None:
    made = await client.create(ConfigMap(metadata=ObjectMeta(name="a")))
    assert made.metadata is not None
    store.forget_history()
    await client.create(ConfigMap(metadata=ObjectMeta(name="b")))
    store.forget_history()
    with pytest.raises(ApiError) as gone:
        async for _ in client.watch(ConfigMap, resource_version=made.metadata.resourceVersion):
            pass
    assert gone.value.status.code == 410


async def test_what_a_label_selects_no_more_is_told_as_deleted(client: AsyncClient) -> None:
    events: list[tuple[str, str]] = []

    async def watch() -> None:
        async for kind, one in client.watch(ConfigMap, labels={"pool": "yes"}):
            events.append((kind, one.metadata.name))

    watching = asyncio.create_task(watch())
    await client.create(ConfigMap(metadata=ObjectMeta(name="a", labels={"pool": "yes"})))
    await client.create(ConfigMap(metadata=ObjectMeta(name="b")))
    await client.patch(ConfigMap, "a", {"metadata": {"labels": {"pool": None}}}, patch_type=PatchType.MERGE)
    await _until(lambda: len(events) >= 2)
    watching.cancel()
    assert events == [("ADDED", "a"), ("DELETED", "a")]


async def test_quota_is_admission(client: AsyncClient) -> None:
    await client.create(
        ResourceQuota(metadata=ObjectMeta(name="q"), spec=ResourceQuotaSpec(hard={"requests.cpu": "150m"}))
    )
    await client.create(_pod("a", "100m"))
    with pytest.raises(ApiError) as refused:
        await client.create(_pod("b", "100m"))
    assert refused.value.status.code == 403
    assert "exceeded quota: q, requested: requests.cpu=0.1, used: requests.cpu=0.1" in str(refused.value)


async def test_what_is_owned_ends_with_its_owner(client: AsyncClient, store: Store) -> None:
    owner = await client.create(Secret(metadata=ObjectMeta(name="owner")))
    assert owner.metadata is not None
    reference = OwnerReference(apiVersion="v1", kind="Secret", name="owner", uid=owner.metadata.uid or "")
    await client.create(_pod("owned", "1m", ownerReferences=[reference]))
    await client.delete(Secret, "owner")
    await _until(lambda: store.find("pods", "room", "owned") is None)


async def test_restricted_namespaces_refuse_loose_pods(client: AsyncClient) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await client.patch(Namespace, "room", {"metadata": {"labels": labels}}, patch_type=PatchType.MERGE)
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        await client.create(_pod("loose", "1m"))


async def test_an_informer_survives_its_api_server(store: Store) -> None:
    port = free_port()
    config = KubeConfig.from_dict({
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "x", "user": {"token": ADMIN}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "room"}}],
    })  # fmt: skip
    gone: list[Any] = []
    async with AsyncClient(config) as client:
        informer = Informer(client, ConfigMap, changed=lambda _: None, gone=gone.append)
        running = asyncio.create_task(informer.run())
        async with _serving(store, port):
            for name in ("stays", "goes"):
                store.create("configmaps", "room", {"metadata": {"name": name}})
            await _until(lambda: set(informer.objects) == {"stays", "goes"})
        await _until(lambda: not informer.listed.is_set())
        # What is known is kept while nobody answers.
        assert set(informer.objects) == {"stays", "goes"}
        store.delete("configmaps", "room", "goes")
        store.create("configmaps", "room", {"metadata": {"name": "new"}})
        store.forget_history()
        async with _serving(store, port):
            await _until(lambda: set(informer.objects) == {"stays", "new"})
        assert len(gone) == 1
        running.cancel()
        await asyncio.wait([running])


def _pod(name: str, cpu: str, **meta: Any) -> Pod:
    resources = ResourceRequirements(requests={"cpu": cpu})
    container = Container(name="c", image="i", resources=resources)
    return Pod(metadata=ObjectMeta(name=name, **meta), spec=PodSpec(containers=[container]))


def _versioned(made: ConfigMap) -> dict[str, Any]:
    assert made.metadata is not None
    return {"metadata": {"resourceVersion": made.metadata.resourceVersion}}


async def _until(is_so: Any, within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)
