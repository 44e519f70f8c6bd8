"""A file is replaced in one step, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.files import replace_file


@pytest.mark.parametrize("is_synced", [True, False])
def test_file_is_replaced_with_its_permissions(tmp_path: Path, is_synced: bool) -> None:
    path = tmp_path / "nodes.yaml"
    replace_file(path, b"old", mode=0o644, is_synced=is_synced)
    assert path.read_bytes() == b"old" and path.stat().st_mode & 0o777 == 0o644
    replace_file(path, b"new", is_synced=is_synced)
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nodes.yaml"
    replace_file(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
