"""What is noted of each event that a function takes: its metrics, always; a line in the log, while there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import Counter

from functions import telemetry
from functions.event import Event, Stage

log = structlog.get_logger()

LINES_PER_S = 100
"""Lines a second that one function writes for handled events; the rest share one that says how many they were."""


class HandlerMetrics:
    """The account of one function in this process. Every event is in the metrics, whatever is in the log."""

    def __init__(self, function: str) -> None:
        """Keep account of the function of that name."""
        self._function = function
        # Looking up a metric by its labels costs more than counting, and these are the same for every event.
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
        """One event, by what became of it."""
        child = self._handled.get((event_type, outcome))
        if child is None:
            child = telemetry.handled_total.labels(self._function, event_type, outcome)
            self._handled[event_type, outcome] = child
        child.inc()

    def called(self, seconds: float) -> None:
        """One call of a handler that returned after so long."""
        self._handler_seconds.observe(seconds)

    def handled(self, event: Event, outputs: Sequence[Event], stage: Stage) -> None:
        """One event is done: its outputs are published, and its acknowledgement is on its way."""
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
        """End this second: one line for those that had none, and room for new ones."""
        if self._unlisted:
            log.info(
                "events_handled", function=self._function, events=self._unlisted, most_age_s=round(self._oldest_s, 3),
                most_duration_s=round(self._longest_s, 4),
            )  # fmt: skip
        if self._second is not None:
            self._second.cancel()
        self._second, self._lines, self._unlisted, self._oldest_s, self._longest_s = None, 0, 0, 0.0, 0.0
