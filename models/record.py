"""Records weights that you trust: `python -m models.record FILE...` writes each sha256 into `SHA256SUMS` beside it."""

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
