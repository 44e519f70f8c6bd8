"""A database that cannot be opened, or is full, is reported in one clear line."""

from __future__ import annotations

import pytest

from store import Store, StoreError, StoreUrlError
from store import database as database_module


async def test_wrong_url_is_refused_without_showing_a_password():
    with pytest.raises(StoreUrlError, match="BONGSU_DATABASE_URL") as refusal:
        await Store.open("postgresql://bongsu:secret@db/bongsu")
    assert "secret" not in str(refusal.value)
    with pytest.raises(StoreUrlError, match="BONGSU_DATABASE_URL"):
        await Store.open("bongsu.db")


async def test_database_that_is_no_database_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "bongsu.db").write_bytes(b"this is a text file, and a long enough one to be looked at" * 100)
    with pytest.raises(StoreError, match="not a database") as refusal:
        await Store.open(f"sqlite+aiosqlite:///{tmp_path}/bongsu.db")
    assert "\n" not in str(refusal.value)


async def test_full_disk_is_a_clear_refusal_and_what_was_kept_stays(tmp_path, make_event, monkeypatch):
    url = f"sqlite+aiosqlite:///{tmp_path}/bongsu.db"
    store = await Store.open(url)
    await store.sightings.record(make_event())
    await store.close()

    def prepare_full(connection, record):
        prepare(connection, record)
        connection.cursor().execute("PRAGMA max_page_count = 1")

    prepare = database_module._prepare_sqlite
    monkeypatch.setattr(database_module, "_prepare_sqlite", prepare_full)
    full = await Store.open(url)
    with pytest.raises(StoreError, match="full"):
        for number in range(500):
            await full.sightings.record(make_event(id_=f"event-{number}", camera=f"gate-{number}" + "x" * 100))
    assert await full.incidents.get(1) is not None
    await full.close()
