from __future__ import annotations

from functions.backoff import backoff_s


def test_waits_double_up_to_the_longest() -> None:
    waits = [backoff_s(n, first_s=0.5, longest_s=5, jitter=0) for n in (0, 1, 2, 3, 4, 10**6)]
    assert waits == [0.5, 1, 2, 4, 5, 5]


def test_waits_are_spread_within_the_jitter() -> None:
    waits = {backoff_s(2, first_s=1, longest_s=60, jitter=0.25) for _ in range(200)}
    assert len(waits) > 100 and min(waits) >= 3 and max(waits) <= 5
