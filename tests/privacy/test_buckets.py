"""Picture stores are all opened the same way, and their secrets stay out of every message."""

from __future__ import annotations

import re
import stat

import pytest

from api.retention import prune
from api.settings import Settings
from functions.settings import SettingsError
from notify.captions.location import draw_location
from privacy import originals
from privacy.buckets import BucketError, explain, open_bucket, show
from store.snapshots import SnapshotError, Snapshots

# None can be opened, and each has its secret in a different part of the address.
ADDRESSES = [
    ("gopher://user:secret@host/?token=secret", "gopher://host"),
    ("gopher://user:secret@host/path", "gopher://host"),
    ("gopher://host:70/path?sig=secret#secret", "gopher://host:70"),
    ("gopher://host/?token=secret@secret", "gopher://…"),
    ("s3://key:secret?secret@bucket", "s3://…"),
    ("s3://key:secret/secret@bucket/prefix", "s3://bucket"),
    ("azure://key:secret@container/x", "azure://container"),
    ("http://user:secret@[bad", "http://…"),
    ("s3://?access_key=secret", "s3://…"),
]


@pytest.mark.parametrize(("url", "shown"), ADDRESSES)
def test_secret_in_an_address_never_reaches_the_message(url, shown):
    with pytest.raises(BucketError) as refusal:
        open_bucket(url)
    assert str(refusal.value) == f"{shown} cannot be opened: give a folder or a bucket"
    for opening, error, name in (
        (Snapshots.open, SnapshotError, "BONGSU_SNAPSHOT_URL"),
        (originals.open_store, SettingsError, "BONGSU_ORIGINALS_URL"),
    ):
        with pytest.raises(error, match=re.escape(f"{name} {shown} cannot")) as refusal:
            opening(url)
        # Nor the traceback that a log may show.
        assert "secret" not in str(refusal.value) and refusal.value.__suppress_context__


async def test_secret_stays_out_of_what_a_read_or_write_says_later(make_event):
    # A missing server: obstore opens it, and quotes the whole address in the error of the first request.
    snapshots = Snapshots.open("http://user:secret@127.0.0.1:9/pictures?sig=secret")
    picture = draw_location(make_event().place, None)
    for asking in (
        lambda: snapshots.put(picture),
        lambda: snapshots.get("ab/" + "ab" * 16 + ".jpg"),
        lambda: prune(snapshots, Settings()),
    ):
        with pytest.raises(SnapshotError) as refusal:
            await asking()
        said = str(refusal.value)
        assert "http://127.0.0.1:9" in said and "secret" not in said and "user" not in said and "\n" not in said


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_folder_is_made_and_named_whole_where_it_cannot_be(tmp_path, prefix):
    open_bucket(f"{prefix}{tmp_path}/a/b")
    assert (tmp_path / "a/b").is_dir()
    open_bucket(f"{prefix}{tmp_path}/own", is_private=True)
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(BucketError, match=re.escape(f"{prefix}{tmp_path}/file: ")):
        open_bucket(f"{prefix}{tmp_path}/file")


def test_addresses_within_an_explanation_are_cut_down():
    error = OSError('PUT "https://a:secret@b.example/x?y=secret" after http://c/secret: no\n\nDebug: password: secret')
    assert explain(error) == 'PUT "https://b.example after http://c no'
    assert show("state/snapshots") == "state/snapshots"
