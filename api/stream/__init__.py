"""The live stream: one poller per process queries the store for changes, and all readers share the result.

Each notice is encoded once and appended to one short log; a reader is little more than a position in that log, so
thousands of readers cost only their connections. A reader that falls behind the log is dropped, reconnects and resumes.
`../live.py` sends notices to readers.
"""

from __future__ import annotations

from api.stream.hub import Hub, TooManyReadersError
from api.stream.log import Reader
from api.stream.notices import HELLO, Notice

__all__ = ["HELLO", "Hub", "Notice", "Reader", "TooManyReadersError"]
