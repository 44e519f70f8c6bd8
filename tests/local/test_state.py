from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.signature import public_key_of
from local.process.backoff import Backoff
from local.state import StateError, caption_keys, open_state


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """`open_state` sets it for the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_folder_is_made_and_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state, lock = open_state(Path("state"))
    with lock:
        assert state.root == tmp_path / "state"
        assert state.broker_url == f"sqlite:///{tmp_path}/state/broker.db"
        assert state.snapshots.is_dir()
        assert state.logs.is_dir()


def test_state_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """The broker's file holds unredacted frames."""
    old = tmp_path / "state"
    (old / "logs").mkdir(parents=True)
    (old / "broker.db").write_text("kept")
    for path, mode in ((old, 0o755), (old / "logs", 0o755), (old / "broker.db", 0o644)):
        path.chmod(mode)
    state, lock = open_state(old)
    lock.close()
    modes = {path.relative_to(old).as_posix(): path.stat().st_mode & 0o777 for path in (old, *old.rglob("*"))}
    assert modes.pop("broker.db") == modes.pop("run.lock") == 0o600
    assert set(modes.values()) == {0o700}
    (state.logs / "new.log").touch()
    assert (state.logs / "new.log").stat().st_mode & 0o777 == 0o600


def test_the_captioners_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    state, lock = open_state(tmp_path / "state")
    with lock:
        private, public = caption_keys(state)
        assert caption_keys(state) == (private, public)
        assert public_key_of(private) == public
        assert state.caption_key.stat().st_mode & 0o777 == 0o600
        state.caption_key.write_text("spoilt")
        with pytest.raises(StateError, match=r"caption\.key: .*delete it, and a new key is made"):
            caption_keys(state)


def test_files_of_somebody_else_keep_their_rights(tmp_path: Path) -> None:
    """A folder that is also used for other things keeps its rights."""
    theirs = tmp_path / "theirs" / "page.html"
    theirs.parent.mkdir()
    theirs.touch()
    (tmp_path / "broker.db").touch()
    for path in (tmp_path, theirs.parent):
        path.chmod(0o755)
    for path in (theirs, tmp_path / "broker.db"):
        path.chmod(0o644)
    open_state(tmp_path)[1].close()
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path, theirs.parent, theirs, tmp_path / "broker.db")]
    assert modes == [0o755, 0o755, 0o644, 0o600]


def test_only_counters_of_the_last_run_are_cleared(tmp_path: Path) -> None:
    state, lock = open_state(tmp_path)
    (state.prometheus / "counter_map.0.db").touch()
    state.status_file.write_text("{}")
    (state.root / "broker.db").write_text("kept")
    lock.close()
    _, lock = open_state(tmp_path)
    lock.close()
    assert list(state.prometheus.iterdir()) == []
    assert not state.status_file.exists()
    assert (state.root / "broker.db").read_text() == "kept"


def test_folder_in_use_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    _, lock = open_state(tmp_path)
    with pytest.raises(StateError, match="already in use by `bongsu run` with process id"):
        open_state(tmp_path)
    lock.close()
    open_state(tmp_path)[1].close()


def test_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 3_000_000))
    with pytest.raises(StateError, match="only 3 MB free, needs 100"):
        open_state(tmp_path)


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StateError, match="choose another folder"):
        open_state(tmp_path / "state")


def test_restarts_back_off_up_to_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.failed(0.1) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.failed(31.0) == 0
    assert backoff.failed(0.1) == 1
