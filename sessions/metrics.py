"""Prometheus metrics of sessions; the allocator, the keeper and the tunnel update them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

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
sessions_now = Gauge("bongsu_sessions", "Sessions by kind and state", ["kind", "state"])
idle_workers = Gauge("bongsu_session_idle_workers", "Workers of the warm pool that are ready", ["kind"])
pool_pods = Gauge("bongsu_session_pool_pods", "Pods of the warm pool on Kubernetes, ready or not", ["kind"])
leaked_workers = Gauge("bongsu_session_leaked_workers", "Workers of sessions that no longer exist, at the last check")
connections_now = Gauge("bongsu_session_connections", "Client connections through this receive server")
