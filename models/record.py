"""Records trusted weights: `python -m models.record FILE…` adds each sha256 to `SHA256SUMS` in the file's folder."""

from __future__ import annotations

import sys
from pathlib import Path

from models.registry import ModelError, record

if __name__ == "__main__":
    for given in sys.argv[1:]:
        try:
            record(Path(given))
        except (OSError, ModelError) as error:
            sys.exit(f"{given} cannot be recorded: {error}")
