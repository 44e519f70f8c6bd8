"""The short log of the latest notices, and each reader's position in it; `hub.py` fills and reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from api.stream.notices import Batch, Notice

_LOG_LENGTH = 512


@dataclass(slots=True, eq=False)
class Reader:
    """One open stream: its position in the log, and the last revision that was sent to it."""

    position: int
    last: int = 0
    is_dropped: bool = False
    """Ends the stream at its next turn: it fell behind, or the process stops."""


class Log:
    """All notices after revision `since`, up to revision `last`; positions count from the first notice ever."""

    def __init__(self) -> None:
        self.since: int | None = None
        """None before the first notice, and after `forget`."""
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
        """Append new notices, and drop the oldest."""
        self._notices.extend(notices)
        while len(self._notices) > _LOG_LENGTH:
            revision = self._notices.popleft().revision
            self.begin += 1
            if revision is not None:
                self.since = revision

    def forget(self) -> None:
        """Reset to the initial state; positions continue."""
        self.begin, self.since, self._batch = self.end, None, None
        self._notices.clear()

    def resume(self, reader: Reader, after: int) -> bool:
        """Move a reader to just after a revision; False if the log does not have everything after it."""
        if self.since is None or not self.since <= after <= self.last:
            return False
        for number, notice in enumerate(reversed(self._notices), 1):
            if notice.revision is not None:
                if notice.revision <= after:
                    break
                reader.position = self.end - number
        return True

    def next(self, reader: Reader) -> Batch | None:
        """The notices that a reader has not got yet; advances its position. None if there are none."""
        while not reader.is_dropped and reader.position != self.end:
            batch = self._batch_from(reader.position)
            reader.position = batch.end
            if not reader.last:
                return batch
            # Just resumed: changes that it read from the database may be in the log too.
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
