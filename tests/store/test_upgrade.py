"""A database of an older version is migrated to this schema, with all its data."""

from __future__ import annotations

import asyncio

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Float, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from api import cli
from functions.cli import run_command
from store import SchemaError, Store, schema, upgrade
from store.database import Database


def config(connection: Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", "store:migrations")
    made.attributes["connection"] = connection
    return made


async def run(url, work):
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def make_first(connection: Connection) -> None:
    """The database of the first release: without a schema version."""
    command.upgrade(config(connection), "0001")
    connection.execute(text("drop table alembic_version"))
    connection.execute(text("insert into counter (id, value) values (1, 7)"))
    connection.execute(
        text(
            "insert into incidents (camera, hazard, lat, lon, place, region, first_seen, last_seen, confidence,"
            " sightings, pin_s, revision) values ('gate-1', 'fire', 37.5, 127.0, 'Gate', '', 1, 2, 0.5, 1, 0.1, 7)"
        )
    )


def test_version_of_the_schema_is_the_last_step():
    scripts = ScriptDirectory.from_config(config())
    assert scripts.get_current_head() == schema.VERSION
    assert next(iter(scripts.walk_revisions("base", "0001"))).revision == upgrade.FIRST


async def test_steps_end_in_the_schema(any_database_url, tmp_path):
    (tmp_path / "state").mkdir(exist_ok=True)
    await run(any_database_url, lambda connection: command.upgrade(config(connection), "head"))

    def compare(connection: Connection) -> list[object]:
        # MySQL uses DOUBLE for the schema's FLOAT(53); None leaves the comparison to Alembic.
        def is_other(_context, _inspected, _described, found, wanted):
            return False if isinstance(found, Float) and isinstance(wanted, Float) else None

        context = MigrationContext.configure(connection, opts={"compare_type": is_other})
        return list(compare_metadata(context, schema.metadata))

    assert await run(any_database_url, compare) == []


async def test_new_database_is_created_whole_and_noted(any_database_url):
    store = await Store.open(any_database_url)
    await store.close()
    assert await run(any_database_url, upgrade.find_version) == schema.VERSION
    assert await Database.upgrade(any_database_url) == (schema.VERSION, schema.VERSION)


async def test_file_of_the_first_release_is_upgraded_when_it_is_opened(tmp_path):
    database_url = f"sqlite+aiosqlite:///{tmp_path}/bongsu.db"
    await run(database_url, make_first)
    stores = await asyncio.gather(*(Store.open(database_url) for _ in range(3)))
    assert (await stores[0].incidents.get(1)).place.name == "Gate"
    assert await stores[0].revisions.newest() == 7
    for store in stores:
        await store.close()
    assert await run(database_url, upgrade.find_version) == schema.VERSION


@pytest.mark.connected
async def test_first_release_schema_waits_for_the_command(mysql_url, monkeypatch, capsys):
    await run(mysql_url, make_first)
    with pytest.raises(SchemaError, match=r"schema version 0001, but .* is needed: run `bongsu db upgrade`") as refusal:
        await Store.open(mysql_url)
    assert "\n" not in str(refusal.value) and ":bongsu@" not in str(refusal.value)
    monkeypatch.setenv("BONGSU_DATABASE_URL", mysql_url)
    assert [await asyncio.to_thread(run_command, cli.db, ["upgrade"]) for _ in range(2)] == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        f"upgraded the tables: 0001 -> {schema.VERSION}",
        f"the tables are at step {schema.VERSION} already",
    ]
    store = await Store.open(mysql_url)
    assert (await store.incidents.get(1)).camera == "gate-1"
    await store.close()


@pytest.mark.connected
async def test_upgrade_that_was_stopped_in_mid_step_goes_on(mysql_url):
    def stop_in_mid_step(connection: Connection) -> None:
        make_first(connection)
        connection.execute(text("create index incidents_by_place on incidents (lat, lon, last_seen, hazard)"))
        connection.execute(text("drop index incidents_by_time on incidents"))

    await run(mysql_url, stop_in_mid_step)
    upgrades = await asyncio.gather(*(Database.upgrade(mysql_url) for _ in range(3)))
    assert sorted(before for before, _ in upgrades) == ["0001", schema.VERSION, schema.VERSION]
    names = await run(mysql_url, lambda c: {index["name"] for index in inspect(c).get_indexes("incidents")})
    assert names == {index.name for index in schema.incidents.indexes}


async def test_database_of_a_newer_version_is_used_as_it_is(any_database_url, make_event):
    await (await Store.open(any_database_url)).close()
    await run(any_database_url, lambda c: c.execute(text("update alembic_version set version_num = '9999'")))
    store = await Store.open(any_database_url)
    assert await store.sightings.record(make_event()) == 1
    await store.close()


def test_command_says_in_one_line_what_is_wrong(monkeypatch, capsys):
    monkeypatch.setenv("BONGSU_DATABASE_URL", "postgresql://db/bongsu")
    assert run_command(cli.db, ["upgrade"]) == 1
    assert capsys.readouterr().err.startswith("bongsu db: BONGSU_DATABASE_URL must start")
