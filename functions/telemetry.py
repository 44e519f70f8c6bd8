"""Logs, metrics and health checks of one worker; every service calls `start` once."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TextIO, cast

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from functions.event import Event, Stage
from functions.settings import Settings, SettingsError, load, unknown_variables

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

handled_total = Counter("bongsu_events_handled_total", "Events by outcome", ["function", "type", "outcome"])
handler_seconds = Histogram("bongsu_handler_duration_seconds", "One call of a handler", ["function"], buckets=_SECONDS)
age_seconds = Histogram(
    "bongsu_event_age_seconds", "From capture of the first frame to handled", ["function"], buckets=_SECONDS
)
stage_seconds = Histogram(
    "bongsu_stage_duration_seconds",
    "Time an event waited for a stage, and time the stage worked on it",
    ["stage", "phase"],
    buckets=_SECONDS,
)
cold_start_seconds = Histogram(
    "bongsu_cold_start_seconds", "From start of the process to the first handler call", ["function"], buckets=_SECONDS
)

_healthy = threading.Event()
_in_hand: ContextVar[Event | None] = ContextVar("event", default=None)


def start(service: str) -> None:
    """Set up structured logs on stderr and, if `BONGSU_METRICS_PORT` is set, serve `/metrics` and `/healthz`.

    Raises:
        SettingsError: the port is taken, or a setting is wrong.
    """
    settings = load()
    _configure_logs(service, settings)
    _warn_of_unknown_variables()
    if settings.metrics_port is not None:
        _serve(settings.metrics_port)


def set_healthy(is_healthy: bool) -> None:
    """Set what `/healthz` answers from now on: 200, or 503 (as it does from the start)."""
    if is_healthy:
        _healthy.set()
    else:
        _healthy.clear()


@contextmanager
def handling(event: Event) -> Iterator[None]:
    """Add the event's id, type and camera to every log line written in this context, in this task or its threads."""
    token = _in_hand.set(event)
    try:
        yield
    finally:
        _in_hand.reset(token)


def observe_stage(event: Event, stage: Stage) -> None:
    """Record how long the event waited for the stage, and how long the stage worked on it."""
    for phase, seconds in zip(("queued", "worked"), stage_durations(event, stage), strict=True):
        stage_seconds.labels(stage.name, phase).observe(seconds)


def stage_durations(event: Event, stage: Stage) -> tuple[float, float]:
    """Seconds that the event waited for the stage, and that the stage worked on it."""
    came_at = event.trace[-1].done_at if event.trace else event.time
    return (
        max(0.0, (stage.got_at - came_at).total_seconds()),
        max(0.0, (stage.done_at - stage.got_at).total_seconds()),
    )


def render_metrics() -> tuple[bytes, str]:
    """All metrics in Prometheus' text format, and its content type.

    With `PROMETHEUS_MULTIPROC_DIR` set they are summed over all processes that share the folder, including ended
    ones, so that the counters of a function that was scaled to zero are not lost.
    """
    registry = prometheus_client.REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST


def _warn_of_unknown_variables() -> None:
    log = structlog.get_logger()
    for name, nearest in unknown_variables().items():
        if nearest:
            log.warning("setting_unknown", variable=name, nearest=nearest)
        else:
            # It may be the setting of a function or channel that runs elsewhere with the same environment.
            log.info("setting_unknown", variable=name, nearest=None)


def _configure_logs(service: str, settings: Settings) -> None:
    level = logging.getLevelNamesMapping().get(settings.log_level.upper())
    if level is None:
        raise SettingsError(f"BONGSU_LOG_LEVEL must be debug, info, warning or error, got {settings.log_level!r}")
    if settings.log_format not in ("json", "console"):
        raise SettingsError(f"BONGSU_LOG_FORMAT must be json or console, got {settings.log_format!r}")
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_event,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )


class _Stderr:
    """Writes the log to stderr and ignores failures: on a full disk, or without a reader, the work goes on."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def _add_event(_logger: Any, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
    event = _in_hand.get()
    if event is None:
        return entry
    return {"event_id": event.id, "event_type": event.type, "camera": event.subject, **entry}


def _named(service: str) -> Any:
    def add_service(_logger: Any, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
        return {"service": service, **entry}

    return add_service


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0
    """Seconds to wait for a peer; without a limit, each that vanished would keep a thread and a file open."""

    def do_GET(self) -> None:
        if self.path == "/healthz":
            status, body, kind = (
                (200, b"ok\n", "text/plain") if _healthy.is_set() else (503, b"not ready\n", "text/plain")
            )
        elif self.path == "/metrics":
            body, kind = render_metrics()
            status = 200
        else:
            status, body, kind = 404, b"try /metrics or /healthz\n", "text/plain"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing: a scrape every few seconds is not worth a line."""


def _serve(port: int) -> None:
    try:
        server = ThreadingHTTPServer(("", port), _Handler)
    except OSError as error:
        raise SettingsError(
            f"BONGSU_METRICS_PORT: port {port} cannot be used ({error.strerror}): choose another"
        ) from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
