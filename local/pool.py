"""Replicas of one function as local processes: started, drained, and restarted when they die."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

from local.manifest import Workload
from local.process.backoff import Backoff
from local.process.fork_server import ForkServer, ForkSpec
from local.process.forked import ForkedChild
from local.process.output import Output
from local.process.service import describe_end


@dataclass(slots=True, eq=False)
class _Replica:
    slot: int
    started_at: float
    child: ForkedChild | None = None
    is_stopping: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None until it is forked, and after it has ended."""
        return self.child.pid if self.child is not None else None

    def send(self, signum: signal.Signals) -> None:
        if self.child is not None:
            self.child.send(signum)


class Pool:
    """Keeps the requested number of replicas of one function running."""

    def __init__(self, workload: Workload, fork_server: ForkServer, output: Output) -> None:
        self._workload = workload
        self._fork_server = fork_server
        self._output = output
        self._wanted = 0
        self._replicas: list[_Replica] = []
        self._backoff = Backoff()
        self._waits_until = 0.0
        self._is_killed = False

    @property
    def wanted(self) -> int:
        """Requested replicas: a Deployment's `spec.replicas`."""
        return self._wanted

    @property
    def running(self) -> int:
        """Replicas that are alive and not stopping."""
        return sum(1 for r in self._replicas if not r.is_stopping and r.pid is not None)

    @property
    def pids(self) -> list[int]:
        """Ids of live processes, oldest first, including those that are stopping."""
        return [r.pid for r in self._replicas if r.pid is not None]

    def scale(self, replicas: int) -> None:
        """Set the number of replicas: missing ones start; surplus replicas stop, newest first."""
        self._wanted = replicas
        self._reconcile()

    async def stop(self) -> None:
        """Stop all replicas and wait until they have ended, at most the grace period."""
        self.scale(0)
        while tasks := [r.task for r in self._replicas if r.task is not None]:
            await asyncio.wait(tasks)

    def kill(self) -> None:
        """Kill all replicas at once; the broker redelivers their unacknowledged messages."""
        self._wanted = 0
        self._is_killed = True
        for replica in self._replicas:
            replica.is_stopping = True
            replica.send(signal.SIGKILL)

    def _reconcile(self) -> None:
        staying = [r for r in self._replicas if not r.is_stopping]
        for replica in staying[self._wanted :]:
            self._stop_replica(replica)
        delay_s = self._waits_until - time.monotonic()
        if len(staying) >= self._wanted:
            return
        if delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s + 0.01, self._reconcile)
            return
        for _ in range(self._wanted - len(staying)):
            replica = _Replica(self._free_slot(), time.monotonic())
            self._replicas.append(replica)
            replica.task = asyncio.create_task(self._live(replica))

    def _free_slot(self) -> int:
        taken = {r.slot for r in self._replicas}
        return next(n for n in range(len(taken) + 1) if n not in taken)

    def _stop_replica(self, replica: _Replica) -> None:
        replica.is_stopping = True
        if replica.child is not None:
            replica.send(signal.SIGKILL if self._is_killed else signal.SIGTERM)
            # As Kubernetes does: SIGTERM, the grace period, SIGKILL.
            asyncio.get_running_loop().call_later(self._workload.grace_s, replica.send, signal.SIGKILL)

    async def _live(self, replica: _Replica) -> None:
        name = self._workload.name
        try:
            reason = await self._run(replica)
        except OSError as error:
            reason = f"could not be started: {error}"
        finally:
            self._replicas.remove(replica)
        if replica.is_stopping:
            if reason == "was killed (SIGKILL)":
                self._output.say(
                    f"{name:<9}did not stop within its grace period of {self._workload.grace_s:.0f} s: {reason}"
                )
            return
        delay_s = self._backoff.failed(time.monotonic() - replica.started_at)
        self._waits_until = time.monotonic() + delay_s
        again = f"again in {delay_s:.0f} s" if delay_s else "starting another"
        self._output.say(f"{name:<9}{reason}; {again}; its log is {self._output.log_file(name)}")
        self._reconcile()

    async def _run(self, replica: _Replica) -> str:
        """Run the process until it ends; returns how it ended."""
        workload = self._workload
        spec = ForkSpec(
            entry="functions.runtime:main",
            arguments=(workload.target, time.time()),
            slot=f"{workload.name}.{replica.slot}",
            # Shorter than the time to SIGKILL, so that unfinished work is requeued rather than cut off.
            env={**workload.env, "BONGSU_GRACE_S": f"{max(1.0, workload.grace_s - 5):g}"},
            log_file=self._output.log_file(workload.name),
            grace_s=workload.grace_s,
        )
        replica.child = ForkedChild(self._fork_server, spec, workload.name, self._output)
        if replica.is_stopping:  # asked to stop before it was forked
            self._stop_replica(replica)
        return describe_end(*await replica.child.run())
