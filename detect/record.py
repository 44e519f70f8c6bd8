"""Records weights that you trust: `python -m detect.record FILE...` writes each sha256 into `SHA256SUMS` beside it."""

from __future__ import annotations

import sys
from pathlib import Path

from detect.registry import record

if __name__ == "__main__":
    for given in sys.argv[1:]:
        record(Path(given))
