"""A file that is read again only after it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from web.changed_file import ChangedFile


def test_content_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"one")
    file = ChangedFile(path)
    assert file.read() == b"one" and file.read() is None
    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "new").replace(path)
    assert file.read() == b"two" and file.read() is None


def test_file_that_comes_later_is_read_then(tmp_path: Path) -> None:
    file = ChangedFile(tmp_path / "keys")
    with pytest.raises(FileNotFoundError):
        file.read()
    (tmp_path / "keys").write_bytes(b"one")
    assert file.read() == b"one"
