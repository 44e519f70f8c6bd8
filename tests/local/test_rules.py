from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from functions.broker import Depth
from local.rules import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Load,
    Policy,
    Rule,
    Scaler,
    ScalingRules,
    Trigger,
    desired_replicas,
    is_active,
)

GOLDEN = json.loads((Path(__file__).parent / "golden_replicas.json").read_text())["cases"]
AT_ONCE = ScalingRules(0.0, (Policy("Percent", 10_000, 15.0),))


def rule(**changes: Any) -> Rule:
    """One queue `q` over amqp and http, as in keda/."""
    both = (Trigger("q", 10.0), Trigger("q", 10.0, counts_unacked=True))
    return Rule(**{"triggers": both, "max_replicas": 8, "cooldown_s": 10.0, "up": AT_ONCE, **changes})


def depth(ready: int, unacked: int = 0) -> dict[str, Depth]:
    return {"q": Depth(ready, unacked)}


def test_all_measured_cases_are_there() -> None:
    assert len(GOLDEN) == 33


@pytest.mark.parametrize("index", range(len(GOLDEN)))
def test_a_real_cluster_decided_the_same(index: int) -> None:
    # The measurement had no stabilization and no scaling policies; "before" is where the case above it ended.
    case = GOLDEN[index]
    scaler = Scaler(
        Rule(
            triggers=(Trigger("q", case["target"], case["activation"]),),
            min_replicas=case["min"],
            max_replicas=case["max"],
            up=AT_ONCE,
            down=ScalingRules(0.0, (Policy("Percent", 100, 15.0),)),
        )
    )
    replicas = GOLDEN[index - 1]["replicas"] if case["start"] == "before" else 0
    for second in range(4):
        replicas = scaler.poll(float(second), depth(case["depth"]), replicas)
        replicas = scaler.sync(float(second), depth(case["depth"]), replicas)
    assert replicas == case["replicas"]


def test_activation_must_be_exceeded() -> None:
    one = rule(triggers=(Trigger("q", 10.0, activation=5.0),))
    assert not is_active(one, depth(5))
    assert is_active(one, depth(6))


def test_any_trigger_wakes_and_the_most_demanding_one_counts() -> None:
    two = rule(triggers=(Trigger("a", 10.0), Trigger("b", 10.0)))
    depths = {"a": Depth(0, 0), "b": Depth(35, 0)}
    assert is_active(two, depths)
    assert desired_replicas(two, depths, 1) == 4


def test_work_in_hand_holds_the_last_replica() -> None:
    scaler = Scaler(rule())
    assert scaler.poll(0.0, depth(1), 0) == 1
    for second in range(1, 60):
        assert scaler.poll(float(second), depth(0, unacked=1), 1) == 1
    assert scaler.poll(69.0, depth(0), 1) == 0


def test_over_amqp_alone_work_in_hand_is_not_seen() -> None:
    scaler = Scaler(rule(triggers=(Trigger("q", 10.0),)))
    scaler.poll(0.0, depth(1), 0)
    assert scaler.poll(10.0, depth(0, unacked=1), 1) == 0


def test_cooldown_counts_from_the_last_time_there_was_work() -> None:
    scaler = Scaler(rule())
    scaler.poll(0.0, depth(1), 0)
    scaler.poll(5.0, depth(1), 1)
    assert scaler.poll(14.9, depth(0), 1) == 1
    assert scaler.poll(15.0, depth(0), 1) == 0


def test_last_step_to_zero_takes_all_replicas_at_once() -> None:
    scaler = Scaler(rule())
    scaler.poll(0.0, depth(100), 5)
    assert scaler.poll(10.0, depth(0), 5) == 0


def test_unread_queue_decides_nothing() -> None:
    scaler = Scaler(rule())
    scaler.poll(0.0, depth(1), 0)
    assert scaler.poll(1_000.0, {}, 1) == 1
    assert scaler.poll(1_000.0, {}, 0) == 0
    two = rule(triggers=(Trigger("a", 10.0), Trigger("b", 10.0)))
    assert desired_replicas(two, {"a": Depth(5, 0)}, 3) == 3


def test_steady_trickle_keeps_the_function_awake() -> None:
    triggers = (Trigger("q", 10.0), Trigger("q", 100.0, counts_unacked=True, counts_rate=True))
    scaler = Scaler(rule(triggers=triggers))
    scaler.poll(0.0, depth(1), 0)
    for second in range(1, 60):
        assert scaler.poll(float(second), {"q": Load(0, 0, second, rate=0.5)}, 1) == 1
    assert scaler.poll(69.0, {"q": Load(0, 0, 60, rate=0.0)}, 1) == 0
    assert desired_replicas(scaler.rule, {"q": Load(0, 0, 60, rate=250.0)}, 1) == 3


def test_minimum_is_kept_without_work() -> None:
    scaler = Scaler(rule(min_replicas=2))
    assert scaler.poll(0.0, depth(0), 0) == 2
    assert scaler.poll(1_000.0, depth(0), 2) == 2
    assert scaler.sync(1_000.0, depth(0), 2) == 2


def test_hpa_does_nothing_at_zero() -> None:
    assert Scaler(rule()).sync(0.0, depth(1_000), 0) == 0


def test_a_thousand_messages_step_up_as_the_cluster_did() -> None:
    # Measured: 1, 5 and 8 replicas, fifteen seconds apart.
    scaler = Scaler(rule(triggers=(Trigger("q", 50.0),), up=DEFAULT_UP))
    seen = [scaler.poll(0.0, depth(1_000), 0)]
    for at in (15.0, 30.0):
        seen.append(scaler.sync(at, depth(1_000), seen[-1]))
    assert seen == [1, 5, 8]


def test_one_pod_a_minute_and_only_after_the_window() -> None:
    down = ScalingRules(60.0, (Policy("Pods", 1, 60.0),))
    scaler = Scaler(rule(down=down))
    assert scaler.sync(0.0, depth(40), 1) == 4
    replicas, went_down_at = 4, []
    for at in range(15, 400, 15):
        now = scaler.sync(float(at), depth(1), replicas)
        if now < replicas:
            assert replicas - now == 1
            went_down_at.append(at)
        replicas = now
    assert went_down_at[0] >= 60
    assert all(later - earlier >= 60 for earlier, later in pairwise(went_down_at))
    assert replicas == 1


def test_scale_down_can_be_disabled() -> None:
    scaler = Scaler(rule(down=ScalingRules(0.0, DEFAULT_DOWN.policies, select="Disabled")))
    assert scaler.sync(0.0, depth(0), 5) == 5


def test_smaller_maximum_takes_effect_without_delay() -> None:
    assert Scaler(rule(max_replicas=2)).sync(0.0, depth(1_000), 5) == 2


def test_tolerance_can_be_declared() -> None:
    tight = rule(up=ScalingRules(0.0, AT_ONCE.policies, tolerance=0.0))
    assert desired_replicas(tight, depth(11), 1) == 2
    assert desired_replicas(rule(), depth(11), 1) == 1
