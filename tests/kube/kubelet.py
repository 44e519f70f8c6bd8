"""The nodes of the double: each container is a process of this machine, on a loopback address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.kube.store import Object, StatusError, Store, is_over, now

_BACKOFF_S = 1.0
_LIBC = ctypes.CDLL(None)


class Kubelet:
    """Runs the first container of each pod that is bound to a node."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._log = folder / "pods.out"
        self._addresses = itertools.count(2)
        self._pods: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """For as long as the cluster lives; its end is that of all containers."""
        changes = self._store.subscribe()
        try:
            while True:
                for pod in list(self._store.all("pods")):
                    uid = pod["metadata"]["uid"]
                    if pod["spec"].get("nodeName") and uid not in self._pods and not is_over(pod):
                        self._pods[uid] = asyncio.create_task(self._follow(pod))
                await changes.get()
                while not changes.empty():
                    changes.get_nowait()
        finally:
            for task in self._pods.values():
                task.cancel()
            await asyncio.gather(*self._pods.values(), return_exceptions=True)

    async def _follow(self, pod: Object) -> None:
        number = next(self._addresses)
        # One range for each process that runs the double, so that two of them may run side by side.
        ip = f"127.{os.getpid() % 100 + 100}.{number // 250}.{number % 250 + 1}"
        name, restarts, last = pod["metadata"]["name"], 0, None
        with contextlib.suppress(StatusError):
            while not self._is_doomed(pod):
                code = await self._run(pod, ip, restarts, last)
                last = {"terminated": {"exitCode": code, "finishedAt": now()}}
                if pod["spec"].get("restartPolicy", "Always") != "Always":
                    phase = "Failed" if code else "Succeeded"
                    self._report(pod, {"phase": phase, "containerStatuses": [_container(restarts, last, last)]}, False)
                    if not self._is_doomed(pod):
                        return
                    break
                restarts += 1
                self._report(
                    pod,
                    {"containerStatuses": [_container(restarts, {"waiting": {"reason": "CrashLoopBackOff"}}, last)]},
                    False,
                )
                if not self._is_doomed(pod):
                    await asyncio.sleep(_BACKOFF_S)
            self._store.delete("pods", pod["metadata"]["namespace"], name, 0)

    async def _run(self, pod: Object, ip: str, restarts: int, last: Object | None) -> int:
        """Run the container once; its exit status, negative for a signal."""
        container = pod["spec"]["containers"][0]
        env = self._env_from(container, pod) | {e["name"]: _value(e, pod, ip) for e in container.get("env", [])}
        command = [_expand(word, env) for word in (*container.get("command", []), *container.get("args", []))]
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable if command[0] == "python" else command[0], *command[1:],
                env={**os.environ, **env}, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        running = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now()}
        self._report(pod, {**running, "containerStatuses": [_container(restarts, {"running": {}}, last)]}, False)
        probing = asyncio.create_task(self._probe(pod, container, ip, restarts, last))
        dooming = asyncio.create_task(self._end_on_deletion(pod, process))
        try:
            return await process.wait()
        finally:
            for task in (probing, dooming):
                task.cancel()
            if process.returncode is None:
                process.kill()

    def _env_from(self, container: Object, pod: Object) -> dict[str, str]:
        names = [source["configMapRef"]["name"] for source in container.get("envFrom", [])]
        maps = (self._store.get("configmaps", pod["metadata"]["namespace"], name)["data"] for name in names)
        return {key: value for data in maps for key, value in data.items()}

    async def _probe(self, pod: Object, container: Object, ip: str, restarts: int, last: Object | None) -> None:
        probe = container.get("readinessProbe", {})
        http = probe.get("httpGet")
        while http:
            ready = await _answers(ip, _port(container, http["port"]), http["path"])
            self._report(pod, {"containerStatuses": [_container(restarts, {"running": {}}, last, ready)]}, ready)
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _end_on_deletion(self, pod: Object, process: asyncio.subprocess.Process) -> None:
        changes = self._store.subscribe()
        try:
            while not self._is_doomed(pod):
                await changes.get()
        finally:
            self._store.unsubscribe(changes)
        process.send_signal(signal.SIGTERM)
        current = self._current(pod)
        await asyncio.sleep((current or pod)["metadata"].get("deletionGracePeriodSeconds", 30))
        process.kill()

    def _report(self, pod: Object, status: Object, ready: bool) -> None:
        if (current := self._current(pod)) is None:
            return
        others = [c for c in current["status"].get("conditions", []) if c["type"] not in ("Ready", "ContainersReady")]
        word = "True" if ready else "False"
        conditions = [*others, {"type": "ContainersReady", "status": word}, {"type": "Ready", "status": word}]
        meta = pod["metadata"]
        self._store.patch(
            "pods", meta["namespace"], meta["name"], {"status": {**status, "conditions": conditions}}, "status"
        )

    def _current(self, pod: Object) -> Object | None:
        found = self._store.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        return found if found is not None and found["metadata"]["uid"] == pod["metadata"]["uid"] else None

    def _is_doomed(self, pod: Object) -> bool:
        current = self._current(pod)
        return current is None or "deletionTimestamp" in current["metadata"]


def _container(restarts: int, state: Object, last: Object | None, ready: bool = False) -> Object:
    return {
        "name": "worker", "image": "worker", "imageID": "sha256:0", "restartCount": restarts, "ready": ready,
        "state": state, "lastState": last or {},
    }  # fmt: skip


def _value(entry: Object, pod: Object, ip: str) -> str:
    if "value" in entry:
        return str(entry["value"])
    path = entry["valueFrom"]["fieldRef"]["fieldPath"]
    if path == "status.podIP":
        return ip
    section, _, key = path.partition(".")
    return str(pod[section][key])


def _expand(word: str, env: dict[str, str]) -> str:
    for name, value in env.items():
        word = word.replace(f"$({name})", value)
    return word


def _port(container: Object, port: Any) -> int:
    return next((p["containerPort"] for p in container.get("ports", []) if p.get("name") == port), port)


async def _answers(ip: str, port: int, path: str) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(ip, port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {ip}\r\nConnection: close\r\n\r\n".encode())
            line = await reader.readline()
            writer.close()
    except OSError:
        return False
    return b" 200 " in line


def _die_with_parent() -> None:
    # The machine's power is cut with the double's: no container outlives its node.
    _LIBC.prctl(1, signal.SIGKILL)
