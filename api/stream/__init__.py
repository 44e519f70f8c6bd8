"""What is new, told to every reader: one poller per process asks the store, and all readers share what it says.

Each notice is encoded once and appended to one short log; a reader is a position in that log and little else, so
thousands of them cost what their connections do. Who falls behind the log's end is dropped, comes back and resumes.
`../live.py` carries notices to readers.
"""

from __future__ import annotations

from api.stream.hub import Hub, TooManyReadersError
from api.stream.log import Reader
from api.stream.notices import HELLO, Notice

__all__ = ["HELLO", "Hub", "Notice", "Reader", "TooManyReadersError"]
