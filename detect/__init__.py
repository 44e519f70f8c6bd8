"""The detector: confirms hazards in bursts of frames; `python -m functions detect` runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.worker import detect

__all__ = ["detect"]


def __getattr__(name: str) -> Any:
    """The handler, imported lazily: code that needs only a network should not load logs and metrics."""
    if name == "detect":
        from detect.worker import detect

        return detect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
