"""The runners of workers, one for each kind of session; `open_runner` opens one per process."""

from __future__ import annotations

from typing import Any, Protocol

from sessions.catalogue import file_of


class InputError(ValueError):
    """A request cannot be answered; the client gets the reason, and what to send instead."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class Runner(Protocol):
    """A loaded model."""

    takes: str
    """`row` or `picture`."""

    def run(self, given: Any) -> dict[str, Any]:
        """Answer one request; called from one thread at a time.

        Args:
            given: a row (numbers in the order of the model's inputs, or by name), or a JPEG's bytes.

        Raises:
            InputError: it cannot be answered.
        """


def open_runner(kind: str, model: str) -> Runner:
    """Load a model; packages of other kinds are not imported.

    Raises:
        ModelError: the file is missing, or is not the recorded one.
    """
    path = file_of(kind, model)
    if kind == "scalar":
        from sessions.kinds.scalar import LinearModel

        return LinearModel.open(path)
    if kind == "image":
        from sessions.kinds.image import Describer

        return Describer()
    from sessions.kinds.object import Detector

    return Detector(model.partition(":")[0])
