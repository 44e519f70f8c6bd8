"""Files that a reader sees whole: replaced in one step, by every room that keeps some."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int = 0o600, is_synced: bool = True) -> None:
    """Put `content` in place of a file in one step; a reader sees the old content or the new, never a part.

    Args:
        path: the file; it need not exist yet, its folder must.
        content: all of it.
        mode: its permissions, whatever the umask.
        is_synced: whether it must survive a power cut.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise
