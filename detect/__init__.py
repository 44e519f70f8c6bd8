"""The detector: bursts of frames in, confirmed hazards out; `python -m functions detect` runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.worker import detect

__all__ = ["detect"]


def __getattr__(name: str) -> Any:
    """The handler, imported when it is asked for: who needs a network alone should not wait for logs and metrics."""
    if name == "detect":
        from detect.worker import detect

        return detect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
