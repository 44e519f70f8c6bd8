"""The detector: bursts of frames in, confirmed hazards out; `python -m functions detect` runs it."""

from detect.worker import detect

__all__ = ["detect"]
