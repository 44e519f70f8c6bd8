"""What the keeper ends, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from prometheus_client import REGISTRY

from sessions.allocator import Allocator
from sessions.dial import Status
from sessions.keeper import Keeper, is_abandoned
from sessions.metrics import measure_messages
from sessions.offload import Upstreams
from sessions.records import Session
from sessions.settings import Settings
from sessions.tokens import Tokens
from tests.sessions.records import Records, RecordsBackend, idle_worker

SETTINGS = Settings(sessions_ask="open")
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BOUND = Session(
    id="a", kind="scalar", model="", owner="key x", client="car-1", created_at=NOW, expires_at=NOW, asked_at=NOW,
    worker="w", bound_at=NOW - timedelta(seconds=61),
)  # fmt: skip
ALONE = Status("", False, 0, 0, 0, None, None, idle_s=61.0)


def test_messages_are_counted_once() -> None:
    sessions, early = {"a": BOUND}, NOW - timedelta(days=1)
    first, more, moved = (replace(ALONE, answered=n, p50_ms=2.0, p99_ms=8.0) for n in (5, 9, 2))
    before = _answered()
    measure_messages(sessions, {}, {"a": first}, since=early)
    measure_messages(sessions, {"a": first}, {"a": more}, since=early)
    # Its next worker counts from 0.
    measure_messages(sessions, {"a": more}, {"a": moved}, since=early)
    assert _answered() - before == 9 + 2
    assert REGISTRY.get_sample_value("bongsu_session_latency_seconds", {"kind": "scalar", "quantile": "0.99"}) == 0.008
    # A server that was started later leaves to others what was answered before.
    measure_messages(sessions, {}, {"a": more}, since=NOW + timedelta(days=1))
    assert _answered() - before == 9 + 2


def _answered() -> float:
    return REGISTRY.get_sample_value("bongsu_session_messages_total", {"kind": "scalar"}) or 0.0


def test_a_client_that_never_came_loses_its_worker() -> None:
    assert is_abandoned(BOUND, ALONE, NOW, 60.0)
    assert not is_abandoned(BOUND, replace(ALONE, session="a"), NOW, 60.0)
    assert not is_abandoned(BOUND, None, NOW, 60.0)


def test_a_worker_of_the_pool_waits_from_its_claim_on() -> None:
    claimed = replace(BOUND, bound_at=NOW - timedelta(seconds=5))
    assert not is_abandoned(claimed, replace(ALONE, idle_s=3600.0), NOW, 60.0)


def test_a_restarted_container_waits_from_its_start_on() -> None:
    assert not is_abandoned(BOUND, replace(ALONE, idle_s=2.0), NOW, 60.0)


def test_a_session_elsewhere_is_not_abandoned_here() -> None:
    assert not is_abandoned(replace(BOUND, upstream="http://centre"), ALONE, NOW, 60.0)


async def test_a_session_that_lost_its_worker_keeps_its_place() -> None:
    records, now = Records(workers=0), datetime.now(UTC)
    # It has run for ten minutes, and its client had no reason to ask for its place in line meanwhile.
    records.put(replace(BOUND, expires_at=now + timedelta(hours=1), asked_at=now - timedelta(minutes=10), bound_at=now))
    records.put(replace(idle_worker("w"), session="a", state="leaving"))
    allocator = Allocator(RecordsBackend(records, lags=False), SETTINGS, Tokens(b"0" * 32))
    keeper = Keeper(allocator, SETTINGS, Upstreams([], "edge", hops=2))
    for _ in range(2):
        await keeper.look()
    session = records.sessions["a"]
    assert (session.worker, session.restarts) == ("", 1)
    assert [waiting.id for waiting in allocator.line()] == ["a"]
