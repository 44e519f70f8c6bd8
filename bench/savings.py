"""Savings from scaling to zero: a day's trace through the rules of `keda/*.yaml`, against one permanent replica each.

The rules are the real ones (`local/rules.py`, checked against a real cluster); the day is synthetic and defined in
`DAY`. `make savings`; `python -m bench.savings --busy-watts 70 --idle-watts 10`, with your card's power, adds energy.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from functions.event import HAZARDS
from functions.topology import MOTION
from local.manifest import Workload, read_workloads
from local.rules import HPA_SYNC_S, Load, Scaler, Trigger

ROOT = Path(__file__).resolve().parents[1]
DAY_S = 86_400
# Motions before one camera in each hour: a quiet night, two rush hours, an ordinary day between.
DAY = [1, 1, 0, 0, 1, 3, 8, 20, 24, 14, 10, 10, 12, 12, 10, 10, 12, 16, 24, 22, 12, 8, 4, 2]
MOVES_S = (5.0, 45.0)
"""Duration of a motion, uniformly distributed; it sends a burst every 2 s, as motion does."""
BURST_S = 2.0
INCIDENTS = 6
"""Hazards a day, at any hour, each seen for three minutes."""
INCIDENT_S = 180.0

# Seconds of work on one message: the detector's from docs/benchmarks.md. The others' are upper bounds, as a tenth of a
# second is negligible against the cooldown, for which a replica stays.
WORK_S = {"detect": 0.13, "map": 0.1, "caption": 0.2, "post": 0.1, "push": 0.1}
# A replica's memory at work, by docker/smoke_test.py.
MEMORY_MIB = {"detect": 159, "map": 48, "caption": 132, "post": 44, "push": 80}
READY_S = 2
"""From the decision until the first message is handled: 1.4 s on a real cluster, rounded up to a step of the replay."""


@dataclass
class Spent:
    """Resources that one workload used in a day."""

    replica_s: float = 0.0
    busy_s: float = 0.0
    wakes: int = 0
    most: int = 0
    longest_wait_s: float = 0.0
    handled: int = 0


@dataclass
class _Running:
    """One workload: its replicas by the second at which they are ready, and its queues."""

    workload: Workload
    scaler: Scaler
    replicas: list[int] = field(default_factory=list)
    waiting: deque[tuple[int, str]] = field(default_factory=deque)
    arrivals: deque[tuple[int, str]] = field(default_factory=deque)
    spent: Spent = field(default_factory=Spent)


def bursts_of_a_day(cameras: int, seed: int) -> list[tuple[int, str | None]]:
    """Time of each burst, and the hazard in it if there is one; by time."""
    chance = random.Random(seed)
    bursts: list[tuple[int, str | None]] = []

    def moves(at: float, lasts: float, hazard: str | None) -> None:
        bursts.extend((int(at + i * BURST_S), hazard) for i in range(max(1, round(lasts / BURST_S))))

    for _ in range(cameras):
        for hour, times in enumerate(DAY):
            for _ in range(times):
                moves(3600 * (hour + chance.random()), chance.uniform(*MOVES_S), None)
    for _ in range(INCIDENTS):
        moves(chance.uniform(0, DAY_S - 600), INCIDENT_S, chance.choice(HAZARDS))
    return sorted((burst for burst in bursts if burst[0] < DAY_S - 300), key=lambda burst: burst[0])


def replay(workloads: Iterable[Workload], bursts: Iterable[tuple[int, str | None]]) -> dict[str, Spent]:
    """A day of those bursts, second by second, through every workload's own rule."""
    running = {w.name: _Running(w, Scaler(w.rule)) for w in workloads}
    coming = deque(bursts)
    hazards: deque[str | None] = deque()
    for now in range(DAY_S):
        while coming and coming[0][0] <= now:
            hazards.append(coming.popleft()[1])
            _put(running, "motion", now)
        for name in ("detect", "map", "caption", "post", "push"):
            for _ in range(_work(running[name], now)):
                hazard = hazards.popleft() if name == "detect" else None
                if name == "detect" and hazard is not None:
                    _put(running, f"{hazard}.map", now)
                    _put(running, f"{hazard}.caption", now)
                elif name == "caption":
                    _put(running, "captioned.map", now)
                    _put(running, "captioned.post", now)
                    _put(running, "captioned.push", now)
        waiting = Counter(queue for one in running.values() for _, queue in one.waiting)
        for one in running.values():
            _scale(one, waiting, now)
    return {name: one.spent for name, one in running.items()}


def woken_early(workloads: Iterable[Workload]) -> list[Workload]:
    """The same with the triggers that `keda/patches/wake.yaml` adds to map and caption on a cluster."""
    patch = yaml.safe_load((ROOT / "keda/patches/wake.yaml").read_text())
    metadata = [operation["value"]["metadata"] for operation in patch]
    early = tuple(
        Trigger(t["queueName"], float(t["value"]), float(t["activationValue"]), t["protocol"] == "http",
                t["mode"] == "MessageRate")
        for t in metadata
    )  # fmt: skip
    return [
        replace(w, rule=replace(w.rule, triggers=w.rule.triggers + early)) if w.name in ("map", "caption") else w
        for w in workloads
    ]


def _put(running: Mapping[str, _Running], queue: str, now: int) -> None:
    _reader(running, queue).waiting.append((now, queue))
    for one in running.values():
        if queue in one.workload.rule.queues:
            one.arrivals.append((now, queue))


def _reader(running: Mapping[str, _Running], queue: str) -> _Running:
    """Who drains a queue; others may only be woken by it."""
    return running["detect" if queue == MOTION else queue.partition(".")[2]]


def _work(one: _Running, now: int) -> int:
    """Handle as many messages as the ready replicas can in this second."""
    ready = sum(at <= now for at in one.replicas)
    work_s = WORK_S[one.workload.name]
    done = min(len(one.waiting), int(ready / work_s))
    for _ in range(done):
        came, _ = one.waiting.popleft()
        one.spent.longest_wait_s = max(one.spent.longest_wait_s, now - came)
    one.spent.handled += done
    one.spent.busy_s += done * work_s
    one.spent.replica_s += len(one.replicas)
    return done


def _scale(one: _Running, waiting: Mapping[str, int], now: int) -> None:
    while one.arrivals and now - one.arrivals[0][0] >= 5:  # the window of RabbitMQ's rates
        one.arrivals.popleft()
    if not (one.replicas or one.waiting or one.arrivals):
        return
    lately = Counter(queue for _, queue in one.arrivals)
    loads = {q: Load(waiting.get(q, 0), 0, None, lately[q] / 5) for q in one.workload.rule.queues}
    wanted = one.scaler.poll(float(now), loads, len(one.replicas))
    if now % int(HPA_SYNC_S) == 0:
        wanted = one.scaler.sync(float(now), loads, wanted)
    if wanted and not one.replicas:
        one.spent.wakes += 1
    one.spent.most = max(one.spent.most, wanted)
    one.replicas = sorted(one.replicas)[:wanted] + [now + READY_S] * (wanted - len(one.replicas))


def main() -> None:
    """Print the resources of a day, scaled to zero and always on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--idle-watts", type=float, help="your GPU's power with the detector loaded and idle")
    parser.add_argument("--busy-watts", type=float, help="its power at work")
    parser.add_argument("--late", action="store_true", help="map and caption wake only for hazards, as on one machine")
    chosen = parser.parse_args()
    bursts = bursts_of_a_day(chosen.cameras, chosen.seed)
    workloads = read_workloads(ROOT / "keda")
    spent = replay(workloads if chosen.late else woken_early(workloads), bursts)
    print(
        f"{chosen.cameras} cameras, {len(bursts)} bursts, {INCIDENTS} incidents in a synthetic day (bench/savings.py)\n"
    )
    print("| function | replica-hours | of always on | woken | most replicas | longest wait | GiB-hours (always on) |")
    print("|---|---|---|---|---|---|---|")
    for name, one in spent.items():
        hours, memory = one.replica_s / 3600, MEMORY_MIB[name] / 1024
        print(
            f"| {name} | {hours:.2f} | {100 * hours / 24:.1f} % | {one.wakes} | {one.most} "
            f"| {one.longest_wait_s:.0f} s | {hours * memory:.2f} ({24 * memory:.2f}) |"
        )
    detect = spent["detect"]
    print(
        f"\nGPU- or CPU-seconds that the detector held: {detect.replica_s:.0f} of {DAY_S}, at work {detect.busy_s:.0f}."
    )
    if chosen.idle_watts is not None and chosen.busy_watts is not None:
        extra = (chosen.busy_watts - chosen.idle_watts) * detect.busy_s
        asleep, always = chosen.idle_watts * detect.replica_s + extra, chosen.idle_watts * DAY_S + extra
        saved = 100 * (1 - asleep / always) if always else math.nan
        print(f"Energy: {asleep / 3.6e6:.3f} kWh against {always / 3.6e6:.3f} kWh, {saved:.0f} % less.")


if __name__ == "__main__":
    main()
