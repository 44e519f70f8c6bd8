"""`python -m tests.kube --port 24000 --state FOLDER --node NAME:CPU:MEMORY[:LABEL=VALUE…] FILE…`: a cluster for tests.

It is empty but for its nodes and the objects of the files (YAML). A kubeconfig for its administrator is written to
FOLDER/kubeconfig. When it ends, however it ends, its containers end too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

import uvicorn
import yaml

from tests.kube.admission import Admission
from tests.kube.api import ADMIN, GLOBAL, PLURALS, Api
from tests.kube.controllers import Controllers
from tests.kube.kubelet import Kubelet
from tests.kube.store import Store


def kubeconfig(url: str, token: str, namespace: str, authority: Path | None = None) -> str:
    """The text of a file for KUBECONFIG; kubectl sends a token over TLS alone."""
    trust = {"certificate-authority": str(authority)} if authority else {}
    return yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "double",
        "clusters": [{"name": "double", "cluster": {"server": url, **trust}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "user", "namespace": namespace}}],
    })  # fmt: skip


def add_node(store: Store, text: str) -> None:
    name, cpu, memory, *labels = text.split(":")
    pairs = dict(label.split("=", 1) for label in labels)
    room = {"cpu": cpu, "memory": memory, "pods": "110"}
    if gpus := pairs.pop("gpu", ""):
        room["nvidia.com/gpu"] = gpus
    store.create("nodes", "", {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **pairs}},
        "spec": {},
        "status": {
            "allocatable": room, "capacity": room, "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {
                "architecture": "amd64", "osImage": "Debian GNU/Linux 13 (trixie)", "kernelVersion": "6.12.0",
                "containerRuntimeVersion": "containerd://2.1.4", "operatingSystem": "linux", "bootID": f"boot-{name}",
                "kubeletVersion": "v1.36.2", "kubeProxyVersion": "v1.36.2", "machineID": name, "systemUUID": name,
            },
        },
    })  # fmt: skip


def apply(store: Store, text: str) -> None:
    """Create all objects of a YAML text."""
    for one in yaml.safe_load_all(text):
        if one:
            plural = PLURALS[one["kind"]]
            namespace = "" if plural in GLOBAL else one["metadata"].get("namespace", "default")
            store.create(plural, namespace, {k: v for k, v in one.items() if k not in ("apiVersion", "kind")})


async def _run(given: argparse.Namespace) -> None:
    store = Store(given.history)
    Admission(store)
    for node in given.node:
        add_node(store, node)
    for file in given.files:
        apply(store, file.read_text())
    tls: dict[str, str] = {}
    if given.certificates is not None:
        files = {"ssl_certfile": "server.pem", "ssl_keyfile": "server.key"}
        tls = {option: str(given.certificates / name) for option, name in files.items()}
    url = f"http{'s' if tls else ''}://127.0.0.1:{given.port}"
    authority = given.certificates / "ca.pem" if tls else None
    (given.state / "kubeconfig").write_text(kubeconfig(url, ADMIN, "default", authority))
    server = uvicorn.Server(
        uvicorn.Config(
            Api(store).app(),
            port=given.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            **tls,
        )
    )
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: setattr(server, "should_exit", True))
    loops = [asyncio.create_task(part.run()) for part in (Controllers(store), Kubelet(store, given.state))]
    serving = asyncio.create_task(server.serve())
    done, _ = await asyncio.wait([serving, *loops], return_when=asyncio.FIRST_COMPLETED)
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    for task in done:
        task.result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kube")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--node", action="append", default=[])
    parser.add_argument("--certificates", type=Path, help="folder with ca.pem, server.pem and server.key")
    parser.add_argument("--history", type=int, default=2000)
    parser.add_argument("files", type=Path, nargs="*")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
