"""`make savings`: the replay wakes, drains and sleeps as the rules say."""

from __future__ import annotations

from bench import savings
from local.manifest import read_workloads
from tests.k8s.conftest import ROOT

WORKLOADS = read_workloads(ROOT / "keda")


def test_a_day_without_motion_costs_nothing() -> None:
    assert {one.replica_s for one in savings.replay(WORKLOADS, []).values()} == {0.0}


def test_one_burst_costs_its_cooldown_and_little_more() -> None:
    spent = savings.replay(WORKLOADS, [(1000, None)])
    (rule,) = [w.rule for w in WORKLOADS if w.name == "detect"]
    assert spent["detect"].wakes == 1
    assert spent["detect"].handled == 1
    assert rule.cooldown_s < spent["detect"].replica_s < rule.cooldown_s + 15
    assert spent["map"].replica_s == 0


def test_a_hazard_wakes_every_function_and_is_handled_by_each() -> None:
    spent = savings.replay(WORKLOADS, [(1000, "fire")])
    assert {name: one.handled for name, one in spent.items()} == {
        "detect": 1,
        "caption": 1,
        "map": 2,
        "post": 1,
        "push": 1,
    }


def test_motion_all_day_is_as_much_as_always_on() -> None:
    spent = savings.replay(WORKLOADS, [(second, None) for second in range(0, savings.DAY_S - 300, 2)])
    assert spent["detect"].wakes == 1
    assert savings.DAY_S * 0.99 < spent["detect"].replica_s <= savings.DAY_S


def test_every_burst_of_the_day_is_handled() -> None:
    bursts = savings.bursts_of_a_day(cameras=3, seed=2)
    assert savings.replay(WORKLOADS, bursts)["detect"].handled == len(bursts)
