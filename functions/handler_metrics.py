"""Records each event that a function takes: always in its metrics, and in the log up to a rate limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import Counter

from functions import telemetry
from functions.event import Event, Stage

log = structlog.get_logger()

LINES_PER_S = 100
"""Log lines a second for one function's handled events; beyond that, one line says how many more there were."""


class HandlerMetrics:
    """Metrics and log lines of one function in this process. Every event is in the metrics, not always in the log."""

    def __init__(self, function: str) -> None:
        """Record events of the function of that name."""
        self._function = function
        # Looking up a metric by its labels costs more than counting, and the labels are the same for every event.
        self._handler_seconds = telemetry.handler_seconds.labels(function)
        self._age_seconds = telemetry.age_seconds.labels(function)
        self._queued_seconds = telemetry.stage_seconds.labels(function, "queued")
        self._worked_seconds = telemetry.stage_seconds.labels(function, "worked")
        self._handled: dict[tuple[str, str], Counter] = {}
        self._lines = 0
        self._unlisted = 0
        self._oldest_s = 0.0
        self._longest_s = 0.0
        self._second: asyncio.TimerHandle | None = None

    def count(self, event_type: str, outcome: str) -> None:
        """Count an event by its outcome."""
        child = self._handled.get((event_type, outcome))
        if child is None:
            child = telemetry.handled_total.labels(self._function, event_type, outcome)
            self._handled[event_type, outcome] = child
        child.inc()

    def called(self, seconds: float) -> None:
        """Record the duration of a handler call."""
        self._handler_seconds.observe(seconds)

    def handled(self, event: Event, outputs: Sequence[Event], stage: Stage) -> None:
        """Record an event that is done: its outputs are published, and its acknowledgement is being sent."""
        self.count(event.type, "ok")
        queued_s, worked_s = telemetry.stage_durations(event, stage)
        self._queued_seconds.observe(queued_s)
        self._worked_seconds.observe(worked_s)
        age_s = max(0.0, (stage.done_at - event.time).total_seconds())
        self._age_seconds.observe(age_s)
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(1.0, self.sum_up)
        self._lines += 1
        if self._lines > LINES_PER_S:
            self._unlisted += 1
            self._oldest_s, self._longest_s = max(self._oldest_s, age_s), max(self._longest_s, worked_s)
            return
        log.info(
            "event_handled", function=self._function, event_id=event.id, event_type=event.type, camera=event.subject,
            published=[o.type for o in outputs if o.id == event.id], age_s=round(age_s, 3),
            duration_s=round(worked_s, 4),
        )  # fmt: skip

    def sum_up(self) -> None:
        """End this second: write one line for the events that got none, and allow new lines."""
        if self._unlisted:
            log.info(
                "events_handled", function=self._function, events=self._unlisted, most_age_s=round(self._oldest_s, 3),
                most_duration_s=round(self._longest_s, 4),
            )  # fmt: skip
        if self._second is not None:
            self._second.cancel()
        self._second, self._lines, self._unlisted, self._oldest_s, self._longest_s = None, 0, 0, 0.0, 0.0
