"""Prometheus metrics of sessions; the allocator, the keeper and the tunnel update them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from sessions.dial import Status
from sessions.records import Session

opened_total = Counter("bongsu_sessions_opened_total", "Requested sessions", ["kind"])
ended_total = Counter(
    "bongsu_sessions_ended_total", "Sessions by the reason for which a receive server ended them", ["reason"]
)
offloaded_total = Counter("bongsu_sessions_offloaded_total", "Sessions passed on to an upstream server", ["outcome"])
moved_total = Counter(
    "bongsu_sessions_moved_total", "Sessions moved from a worker that had to end, by what came with them", ["outcome"]
)
start_seconds = Histogram(
    "bongsu_session_start_seconds",
    "From the request for a session to a worker that serves it",
    ["kind"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
)
messages_total = Counter(
    "bongsu_session_messages_total", "Answered messages, as workers reported at the last check", ["kind"]
)
latency_seconds = Gauge(
    "bongsu_session_latency_seconds",
    "From a message's arrival at its worker to its result: the highest of all sessions' percentiles",
    ["kind", "quantile"],
)
sessions_now = Gauge("bongsu_sessions", "Sessions by kind and state", ["kind", "state"])
idle_workers = Gauge("bongsu_session_idle_workers", "Workers of the warm pool that are ready", ["kind"])
pool_pods = Gauge("bongsu_session_pool_pods", "Pods of the warm pool on Kubernetes, ready or not", ["kind"])
leaked_workers = Gauge("bongsu_session_leaked_workers", "Workers of sessions that no longer exist, at the last check")
connections_now = Gauge("bongsu_session_connections", "Client connections through this receive server")


def measure_messages(
    sessions: Mapping[str, Session], before: Mapping[str, Status], now: Mapping[str, Status], since: datetime
) -> None:
    """Count the messages answered between two checks, and note the latencies at the second one.

    Args:
        sessions: by id.
        before: reports of their workers at the last check, by session.
        now: the same at this one.
        since: when this process began: what older sessions had answered by then was counted by another.
    """
    highest: dict[tuple[str, str], float] = {}
    for id_, status in now.items():
        if (session := sessions.get(id_)) is None:
            continue
        known = before.get(id_)
        counted = known.answered if known is not None else 0 if session.created_at >= since else status.answered
        # A new worker of the session counts from 0.
        messages_total.labels(session.kind).inc(status.answered - (counted if counted <= status.answered else 0))
        for quantile, value_ms in (("0.5", status.p50_ms), ("0.99", status.p99_ms)):
            key = (session.kind, quantile)
            highest[key] = max(highest.get(key, 0.0), value_ms or 0.0)
    latency_seconds.clear()
    for key, value_ms in highest.items():
        latency_seconds.labels(*key).set(value_ms / 1000)
