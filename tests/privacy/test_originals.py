"""Unredacted frames are stored only if configured, sealed and for a limited time; only the private key opens them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from functions.cli import run_command
from functions.clip import ClipName, seal_clip
from functions.sealing import PRIVATE, PUBLIC, read_key, write_key
from functions.settings import SettingsError
from notify.caption import caption, open_captioner
from privacy.cli import originals
from privacy.originals import Originals, load, open_originals


@pytest.fixture
def keys(tmp_path, capsys):
    """Path of the private key, and the public key as printed."""
    private = tmp_path / "operator" / "private.key"
    private.parent.mkdir()
    assert run_command(originals, ["keygen", str(private)]) == 0
    name, _, public = capsys.readouterr().out.strip().partition("=")
    assert name == "BONGSU_ORIGINALS_KEY"
    return private, public


@pytest.fixture
def kept(tmp_path, keys, monkeypatch):
    """The folder of originals that the environment names."""
    monkeypatch.setenv("BONGSU_ORIGINALS_URL", str(tmp_path / "kept"))
    monkeypatch.setenv("BONGSU_ORIGINALS_KEY", keys[1])
    monkeypatch.setenv("BONGSU_SNAPSHOT_URL", str(tmp_path / "snapshots"))
    return tmp_path / "kept"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_nothing_is_kept_by_default(make_event, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with open_captioner() as captioner:
        assert captioner.originals is None
        await caption(make_event(), captioner)
    assert files(tmp_path) == []


async def test_sealed_original_opens_with_the_private_key_only(make_event, street, kept, keys, capsys):
    event = make_event("gun", camera="gate-1")
    async with open_captioner() as captioner:
        output = await caption(event, captioner)
        await caption(event, captioner)
    assert output.snapshot is not None and output.snapshot != street
    (sealed,) = files(kept)
    assert sealed.relative_to(kept).as_posix() == "2026-03-02/event-1-gun.sealed"
    content = sealed.read_bytes()
    assert street[100:140] not in content and b"gate-1" not in content and b"JFIF" not in content
    out = kept.parent / "out"
    assert run_command(originals, ["decrypt", "--key", str(keys[0]), "--out", str(out), str(kept)]) == 0
    assert (out / "event-1-gun.jpg").read_bytes() == street
    assert "gun at gate-1, 2026-03-02T05:03:00" in capsys.readouterr().out
    assert stat.S_IMODE((out / "event-1-gun.jpg").stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_clip_is_decrypted_by_the_same_command_and_key(keys, tmp_path, capsys):
    start = datetime(2026, 3, 2, 5, 3, tzinfo=UTC)
    name = ClipName("gate-1", start, start + timedelta(seconds=11))
    path = tmp_path / "clips" / name.path
    path.parent.mkdir(parents=True)
    path.write_bytes(seal_clip(name, b"an mp4", read_key(keys[1], PUBLIC)))
    arguments = ["decrypt", "--key", str(keys[0]), "--out", str(tmp_path / "out"), str(tmp_path / "clips")]
    assert run_command(originals, arguments) == 0
    (video,) = (tmp_path / "out").iterdir()
    assert video.read_bytes() == b"an mp4" and stat.S_IMODE(video.stat().st_mode) == 0o600
    assert video.name == f"gate-1-{path.stem}.mp4"
    assert "11.0 s of gate-1, from 2026-03-02T05:03:00+00:00" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert run_command(originals, arguments) == 1
    assert "sealed for another key, or altered since" in capsys.readouterr().err


async def test_another_key_or_an_altered_file_is_one_clear_line(make_event, kept, tmp_path, capsys):
    await open_originals().keep(make_event())
    (sealed,) = files(kept)
    other = tmp_path / "other.key"
    run_command(originals, ["keygen", str(other)])
    capsys.readouterr()
    arguments = ["decrypt", "--key", str(other), "--out", str(tmp_path / "out"), str(sealed)]
    assert run_command(originals, arguments) == 1
    assert capsys.readouterr().err.endswith(": it was sealed for another key, or altered since\n")
    sealed.write_bytes(b"\xff\xd8")
    assert run_command(originals, arguments) == 1
    assert capsys.readouterr().err.endswith(": this is not a sealed original\n")


async def test_what_the_captioner_holds_opens_nothing(make_event, kept, keys):
    """The store has only the public key, so it cannot decrypt."""
    kept_by: Originals = open_originals()
    await kept_by.keep(make_event())
    with pytest.raises(TypeError, match="cannot decrypt"):
        kept_by.box.decrypt(files(kept)[0].read_bytes())


async def test_originals_expire_and_other_files_stay(make_event, kept, monkeypatch):
    monkeypatch.setenv("BONGSU_ORIGINALS_KEEP_DAYS", "2")
    await open_originals().keep(make_event(id_="old"))
    (old,) = files(kept)
    mine = kept / "notes.txt"
    mine.write_text("mine")
    for path in (old, mine):
        os.utime(path, (time.time() - 3 * 86_400,) * 2)
    await open_originals().keep(make_event(id_="new"))
    assert [path.name for path in files(kept)] == ["new-fire.sealed", "notes.txt"]


def test_prune_deletes_what_has_expired_while_nothing_happened(kept, capsys):
    old = kept / "2026-01-01" / "old-fire.sealed"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"sealed")
    os.utime(old, (time.time() - 8 * 86_400,) * 2)
    assert run_command(originals, ["prune"]) == 0
    assert capsys.readouterr().out == "deleted 1 originals older than 7 days\n" and not old.exists()


async def test_event_id_leads_to_no_other_folder(make_event, kept):
    await open_originals().keep(make_event(id_="../../etc/passwd"))
    assert [path.relative_to(kept).as_posix() for path in files(kept)] == ["2026-03-02/______etc_passwd-fire.sealed"]


async def test_full_disk_costs_the_original_and_not_the_alert(make_event, kept):
    before = REGISTRY.get_sample_value("bongsu_originals_total", {"outcome": "failed"}) or 0
    async with open_captioner() as captioner:
        kept.rmdir()
        kept.write_text("a file is in the way")
        output = await caption(make_event(), captioner)
    assert output.caption is not None and output.snapshot is not None
    assert REGISTRY.get_sample_value("bongsu_originals_total", {"outcome": "failed"}) == before + 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"URL": ""}, "BONGSU_ORIGINALS_URL is missing"),
        ({"KEY": ""}, "BONGSU_ORIGINALS_KEY is missing"),
        ({"KEY": "hunter2"}, "the key must be bongsu-originals-public-"),
        ({"KEY": write_key(b"k" * 32, PRIVATE)}, "is a private key"),
        ({"KEEP_DAYS": "0"}, "above 0 and at most 366, got 0"),
        ({"KEEP_DAYS": "week"}, "BONGSU_ORIGINALS_KEEP_DAYS: got 'week'"),
        ({"URL": "/proc/nowhere"}, "give a folder or a bucket"),
        ({"URL": "gopher://secret@host"}, "BONGSU_ORIGINALS_URL gopher://host cannot be opened"),
    ],
)
def test_wrong_setting_stops_the_captioner_in_one_line(kept, given, said, tmp_path):
    variables = {f"BONGSU_ORIGINALS_{name}": value for name, value in given.items()}
    environment = os.environ | variables | {"BONGSU_BROKER_URL": f"sqlite:///{tmp_path}/broker.db"}
    ran = subprocess.run(
        [sys.executable, "-m", "functions", "notify.caption"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode != 0
    assert said in ran.stderr and "Traceback" not in ran.stderr and "hunter2" not in ran.stderr
    assert "secret" not in ran.stderr and "a2tra2tr" not in ran.stderr


def test_originals_among_the_public_pictures_are_refused(kept, monkeypatch, tmp_path):
    for url in (tmp_path / "snapshots", tmp_path / "snapshots" / "originals", tmp_path):
        monkeypatch.setenv("BONGSU_ORIGINALS_URL", str(url))
        with pytest.raises(SettingsError, match="must not contain each other"):
            load()


def test_key_is_never_overwritten(keys, capsys):
    before = keys[0].read_text()
    assert run_command(originals, ["keygen", str(keys[0])]) == 1
    assert "File exists" in capsys.readouterr().err and keys[0].read_text() == before
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600


def test_missing_library_is_named_with_its_fix(kept, monkeypatch):
    monkeypatch.setitem(sys.modules, "nacl", None)
    monkeypatch.setitem(sys.modules, "nacl.public", None)
    with pytest.raises(SettingsError, match=r"bongsu\[originals\]"):
        open_originals()
