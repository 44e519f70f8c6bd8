"""Publishes the ticks of functions' schedules on one machine, as a CronJob does on a cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from functions.backoff import backoff_s
from functions.broker import BrokerError, connect
from functions.event import encode, utc_now
from functions.files import replace_file
from functions.schedule import Schedule, tick
from local.checks import RunError
from local.process.output import Output

LATE = timedelta(hours=1)
"""A tick that is later than this is left out: `startingDeadlineSeconds` of the CronJobs."""
_LOOK_S = 20.0
"""A clock that was set, or a machine that slept, is noticed after so long."""
_COUNTED_MAX = 1000


def due_times(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """The times of a schedule in (after, until], at most the first thousand (UTC).

    Raises:
        RunError: the schedule's fields cannot be used.
    """
    from cronsim import CronSim, CronSimError

    try:
        times = CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.zone)))
    except CronSimError as error:
        raise RunError(f"schedule {schedule.name}: {schedule.cron!r} is not a time: {error}") from None
    found = []
    for at in islice(times, _COUNTED_MAX):
        if at > until:
            break
        found.append(at.astimezone(UTC))
    return found


class Ticker:
    """Publishes each tick once, and the last of those that were missed, if it is not an hour old."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        broker_url: str,
        memory: Path,
        output: Output,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Tick for these schedules.

        Args:
            schedules: of all functions.
            broker_url: where the functions read.
            memory: file that keeps each schedule's last tick from one run to the next.
            output: says what was missed.
            now: the clock (UTC).

        Raises:
            RunError: a schedule's fields cannot be used.
        """
        self._schedules = schedules
        self._broker_url = broker_url
        self._memory = memory
        self._output = output
        self._now = now
        self._last = self._read()
        for schedule in schedules:
            due_times(schedule, now(), now())

    async def run(self) -> None:
        """Tick until cancelled; without schedules, return."""
        async with asyncio.TaskGroup() as group:
            for schedule in self._schedules:
                group.create_task(self._tick_always(schedule))

    async def _tick_always(self, schedule: Schedule) -> None:
        # Of a schedule that is new here nothing was missed.
        last = self._last.get(schedule.name, self._now())
        while True:
            now = self._now()
            if due := due_times(schedule, last, now):
                last = due[-1]
                await self._publish(schedule, last, missed=len(due) - 1, is_late=now - last > LATE)
            following = due_times(schedule, now, now + timedelta(seconds=_LOOK_S))
            wait_s = (following[0] - self._now()).total_seconds() if following else _LOOK_S
            await asyncio.sleep(max(0.0, wait_s))

    async def _publish(self, schedule: Schedule, due_at: datetime, *, missed: int, is_late: bool) -> None:
        local = due_at.astimezone(ZoneInfo(schedule.zone)).isoformat(timespec="minutes")
        if missed or is_late:
            what = "is left out, as it is over an hour old" if is_late else "is made up for"
            more = f", and {missed} before it were missed" if missed else ""
            self._output.say(f"{schedule.name:<9}the tick of {local} {what}{more}")
        if not is_late:
            await self._hand_over(schedule, due_at)
        self._last[schedule.name] = due_at
        try:
            self._write()
        except OSError as error:
            # After a restart the same tick may come again, with the same id.
            self._output.say(f"{schedule.name:<9}{self._memory} cannot be written ({error.strerror})")

    async def _hand_over(self, schedule: Schedule, due_at: datetime) -> None:
        attempt = 0
        while True:
            try:
                broker = await connect(self._broker_url)
                try:
                    await broker.publish(encode(tick(schedule.name, due_at)))
                finally:
                    await broker.close()
            except BrokerError as error:
                if attempt == 0:
                    self._output.say(f"{schedule.name:<9}its tick waits: {error}")
                attempt += 1
                await asyncio.sleep(backoff_s(attempt, first_s=0.5, longest_s=10.0))
            else:
                return

    def _read(self) -> dict[str, datetime]:
        try:
            kept = json.loads(self._memory.read_text("utf-8"))
            return {str(name): datetime.fromisoformat(at) for name, at in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self._output.say(f"{'ticks':<9}{self._memory} cannot be read ({error}): what was missed is not known")
            return {}

    def _write(self) -> None:
        content = json.dumps({name: at.isoformat() for name, at in self._last.items()})
        replace_file(self._memory, content.encode(), is_synced=False)
