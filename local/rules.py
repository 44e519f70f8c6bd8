"""How many replicas a queue needs: KEDA's and the HPA's rules as pure functions, called by the autoscaler.

Only KEDA scales a workload between 0 and 1 (`poll`), only the Kubernetes autoscaler between 1 and N (`sync`), each at
its own interval. `tests/local/golden_replicas.json` holds decisions of a real cluster, which these rules reproduce.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from functions.broker import Depth

HPA_SYNC_S = 15.0
"""Sync interval of the Kubernetes autoscaler: the default of its controller."""


@dataclass(frozen=True, slots=True)
class Load(Depth):
    """A queue's depth, and its recent publish rate in messages a second."""

    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Trigger:
    """One queue to watch, and how much work one replica takes."""

    queue: str
    value: float
    """Messages (a second, if it counts a rate) for each replica."""
    activation: float = 0.0
    """Messages (a second) above which, strictly, the workload wakes from zero."""
    counts_unacked: bool = False
    """False over amqp, which sees waiting messages only; True over http, which also sees those in work."""
    counts_rate: bool = False
    """KEDA's MessageRate: messages published a second, however soon they are handled."""

    def messages(self, depth: Depth) -> float:
        """The messages of this depth that the trigger counts."""
        if self.counts_rate:
            return depth.rate if isinstance(depth, Load) else 0.0
        return depth.ready + (depth.unacked or 0) if self.counts_unacked else depth.ready


@dataclass(frozen=True, slots=True)
class Policy:
    """The largest change allowed in a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """How fast the HPA may move in one direction."""

    stabilization_s: float
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float = 0.1


# Defaults of a HorizontalPodAutoscaler.
DEFAULT_UP = ScalingRules(0.0, (Policy("Pods", 4, 15.0), Policy("Percent", 100, 15.0)))
DEFAULT_DOWN = ScalingRules(300.0, (Policy("Percent", 100, 15.0),))


@dataclass(frozen=True, slots=True)
class Rule:
    """How one workload scales."""

    triggers: tuple[Trigger, ...]
    min_replicas: int = 0
    max_replicas: int = 100
    polling_interval_s: float = 30.0
    cooldown_s: float = 300.0
    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues it watches, each once."""
        return tuple(dict.fromkeys(trigger.queue for trigger in self.triggers))


Depths = Mapping[str, Depth]
"""Depth by queue; a queue that could not be read is missing."""


def is_active(rule: Rule, depths: Depths) -> bool:
    """Whether any trigger is above its activation value."""
    return any(t.messages(depths[t.queue]) > t.activation for t in rule.triggers if t.queue in depths)


def desired_replicas(rule: Rule, depths: Depths, current: int) -> int:
    """The HPA's recommendation before its scaling policies apply: the highest of all triggers.

    Args:
        current: replicas now, at least 1: the HPA does nothing at zero.
    """
    wanted = [
        _replicas_for(t.messages(depths[t.queue]), t.value, current, rule) for t in rule.triggers if t.queue in depths
    ]
    if len(wanted) < len(rule.triggers):
        # As the HPA does: an unreadable metric may hide work, so it can only prevent scaling down.
        wanted.append(current)
    return _clamp(max(wanted, default=current), rule)


def _replicas_for(messages: float, value: float, current: int, rule: Rule) -> int:
    ratio = messages / (value * current)
    # Same comparison as the HPA's: 1.1 counts as within 1 + 0.1, although 1.1 - 1 > 0.1 in floats.
    if 1.0 - rule.down.tolerance <= ratio <= 1.0 + rule.up.tolerance:
        return current
    return math.ceil(messages / value)


def _clamp(replicas: int, rule: Rule) -> int:
    return min(max(replicas, rule.min_replicas, 1), rule.max_replicas)


@dataclass(slots=True)
class Scaler:
    """State of one workload's rule: when it was last active, recent recommendations and changes.

    Times are seconds of any one monotonic clock.
    """

    rule: Rule
    active_at: float = -math.inf
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def poll(self, now: float, depths: Depths, current: int) -> int:
        """KEDA's part, each polling interval: scale from zero to one, or to zero after the cooldown."""
        rule = self.rule
        if is_active(rule, depths):
            self.active_at = now
            return current if current >= max(rule.min_replicas, 1) else max(rule.min_replicas, 1)
        if len(depths) < len(rule.queues):
            return current  # An unreadable queue may hold work: keep the replicas.
        if current < rule.min_replicas:
            return rule.min_replicas
        if current and not rule.min_replicas and now - self.active_at >= rule.cooldown_s:
            return 0
        return current

    def sync(self, now: float, depths: Depths, current: int) -> int:
        """The HPA's part, each `HPA_SYNC_S`: between max(min, 1) and max, at the declared pace."""
        if current == 0:
            return 0
        if current != _clamp(current, self.rule):
            return _clamp(current, self.rule)
        wanted = self._stabilize(now, desired_replicas(self.rule, depths, current), current)
        if wanted > current:
            wanted = min(wanted, max(self._ceiling(now, current), current))
            self._added.append((now, wanted - current))
        elif wanted < current:
            wanted = max(wanted, min(self._floor(now, current), current))
            self._removed.append((now, current - wanted))
        return wanted

    def _stabilize(self, now: float, desired: int, current: int) -> int:
        """Scale up only to the lowest and down only to the highest recommendation in each direction's window."""
        up_s, down_s = self.rule.up.stabilization_s, self.rule.down.stabilization_s
        self._recommended = [(at, n) for at, n in self._recommended if now - at < max(up_s, down_s)]
        least = min([desired, *(n for at, n in self._recommended if now - at < up_s)])
        most = max([desired, *(n for at, n in self._recommended if now - at < down_s)])
        self._recommended.append((now, desired))
        return min(max(current, least), most)

    def _ceiling(self, now: float, current: int) -> int:
        pace = self.rule.up
        if pace.select == "Disabled":
            return current
        limits = []
        for policy in pace.policies:
            start = current - _sum(self._added, now, policy.period_s) + _sum(self._removed, now, policy.period_s)
            grown = start + policy.value if policy.kind == "Pods" else math.ceil(start * (1 + policy.value / 100))
            limits.append(grown)
        self._added = _recent(self._added, now, self.rule)
        return max(limits) if pace.select == "Max" else min(limits)

    def _floor(self, now: float, current: int) -> int:
        pace = self.rule.down
        if pace.select == "Disabled":
            return current
        limits = []
        for policy in pace.policies:
            start = current - _sum(self._added, now, policy.period_s) + _sum(self._removed, now, policy.period_s)
            shrunk = start - policy.value if policy.kind == "Pods" else int(start * (1 - policy.value / 100))
            limits.append(shrunk)
        self._removed = _recent(self._removed, now, self.rule)
        # "Max" allows the largest change, which on the way down is the smallest number.
        return min(limits) if pace.select == "Max" else max(limits)


def _sum(changes: Sequence[tuple[float, int]], now: float, period_s: float) -> int:
    return sum(n for at, n in changes if now - at < period_s)


def _recent(changes: Sequence[tuple[float, int]], now: float, rule: Rule) -> list[tuple[float, int]]:
    longest = max((p.period_s for p in (*rule.up.policies, *rule.down.policies)), default=0.0)
    return [(at, n) for at, n in changes if now - at < longest]
