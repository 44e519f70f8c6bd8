"""The short log of what was told last, and where in it each reader stands; `hub.py` fills it and hands it out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from api.stream.notices import Batch, Notice

_LOG_LENGTH = 512


@dataclass(slots=True, eq=False)
class Reader:
    """One open stream: where in the log it stands, and the last revision that it was told."""

    position: int
    last: int = 0
    is_dropped: bool = False
    """It ends at its next turn: it fell behind, or the process is leaving."""


class Log:
    """Every notice after revision `since`, the last of them of revision `last`; positions count from the first ever."""

    def __init__(self) -> None:
        self.since: int | None = None
        """None before the first notice is known of, and after `forget`."""
        self.last = 0
        self.begin = 0
        """Position of the oldest notice that is still held."""
        self._notices: deque[Notice] = deque()
        self._batch: tuple[int, Batch] | None = None

    @property
    def end(self) -> int:
        """Position after the newest notice."""
        return self.begin + len(self._notices)

    def append(self, notices: Sequence[Notice]) -> None:
        """Add what is new, and let go of what is oldest."""
        self._notices.extend(notices)
        while len(self._notices) > _LOG_LENGTH:
            revision = self._notices.popleft().revision
            self.begin += 1
            if revision is not None:
                self.since = revision

    def forget(self) -> None:
        """Begin anew, as at the start; positions go on."""
        self.begin, self.since, self._batch = self.end, None, None
        self._notices.clear()

    def resume(self, reader: Reader, after: int) -> bool:
        """Put a reader right after a revision; False where the log does not hold all that came after it."""
        if self.since is None or not self.since <= after <= self.last:
            return False
        for number, notice in enumerate(reversed(self._notices), 1):
            if notice.revision is not None:
                if notice.revision <= after:
                    break
                reader.position = self.end - number
        return True

    def next(self, reader: Reader) -> Batch | None:
        """What a reader was not told yet, and put it after that; None if that is nothing."""
        while not reader.is_dropped and reader.position != self.end:
            batch = self._batch_from(reader.position)
            reader.position = batch.end
            if not reader.last:
                return batch
            # Just resumed: what it read from the database may be in the log as well.
            fresh = tuple(one for one in batch.notices if one.revision is None or one.revision > reader.last)
            is_over = any(one.revision is not None for one in fresh)
            reader.last = 0 if is_over else reader.last
            if len(fresh) == len(batch.notices):
                return batch
            if fresh:
                return Batch(fresh, batch.end)
        return None

    def _batch_from(self, position: int) -> Batch:
        if self._batch is None or self._batch[0] != position or self._batch[1].end != self.end:
            notices = tuple(self._notices[number] for number in range(position - self.begin, len(self._notices)))
            self._batch = position, Batch(notices, self.end)
        return self._batch[1]
