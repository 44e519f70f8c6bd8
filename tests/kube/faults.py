"""Faults of the double's API server: refused, slow and lost answers, and watches that break; at random, repeatably."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.kube.store import StatusError

_REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to some requests.

    Attributes:
        verbs: of the requests, such as `create`; empty: of all.
        plurals: of their resources; empty: of all.
        share: of these requests.
        code: of the refusal; 0: they are answered.
        is_done: whether a refused request is carried out all the same, as where only its answer is lost.
        delay_s: before they are answered.
        watch_s: after which a watch ends.
    """

    verbs: tuple[str, ...] = ()
    plurals: tuple[str, ...] = ()
    share: float = 1.0
    code: int = 0
    is_done: bool = False
    delay_s: float = 0.0
    watch_s: float = 300.0

    def refusal(self) -> StatusError:
        """The error that is answered."""
        return StatusError(self.code, _REASONS[self.code], f"injected: {_REASONS[self.code]}")


class Faults:
    """The faults that are set now."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(1)

    def set(self, faults: list[dict[str, Any]]) -> None:
        """Replace all of them; the arguments of `Fault`, as JSON."""
        self._faults = [
            Fault(**{name: tuple(value) if isinstance(value, list) else value for name, value in one.items()})
            for one in faults
        ]

    def pick(self, verb: str, plural: str) -> Fault:
        """What happens to a request: the first fault that applies and is drawn, or none."""
        for fault in self._faults:
            applies = (not fault.verbs or verb in fault.verbs) and (not fault.plurals or plural in fault.plurals)
            if applies and self._random.random() < fault.share:
                return fault
        return Fault()
