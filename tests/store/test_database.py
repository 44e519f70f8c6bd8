"""Failures of a database server during a transaction: it is retried, and takes effect once."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from functions import Caption
from store import Store, StoreError, failures, schema
from store import database as database_module
from store.database import Database
from store.failures import PassingError, persistent

pytestmark = pytest.mark.connected


class Wire:
    """A proxy between store and server that cuts the connection on request."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._streams: set[asyncio.StreamWriter] = set()
        self.is_down = False
        self.cut_after: bytes | None = None
        """Cut once after this was sent to the server and before its response arrives."""

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return self._to.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for stream in self._streams:
            stream.transport.abort()
        self._streams.clear()

    async def _pass(self, reader, writer) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(self._to.host, self._to.port)
        self._streams |= {writer, server_writer}
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await asyncio.gather(
                self._copy(reader, server_writer, is_query=True), self._copy(server_reader, writer, is_query=False)
            )

    async def _copy(self, reader, writer, *, is_query: bool) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            if is_query and self.cut_after is not None and self.cut_after in data:
                self.cut_after = None
                await asyncio.sleep(0.2)
                self.cut()
        writer.close()


@pytest.fixture
async def wire(mysql_url):
    wire = Wire(mysql_url)
    async with wire as url:
        store = await Store.open(url)
        yield wire, store
        await store.close()


async def test_store_goes_on_when_all_its_connections_are_cut(wire, make_event):
    wire, store = wire
    for number in range(5):
        wire.cut()
        await store.sightings.record(make_event(id_=f"event-{number}", seconds=number))
    assert (await store.incidents.get(1)).sightings == 5


@pytest.mark.parametrize("at", [b"COMMIT", b"INSERT INTO sightings"])
async def test_transaction_whose_answer_was_lost_has_its_effect_once(wire, make_event, at):
    wire, store = wire
    wire.cut_after = at
    incident = await store.sightings.record(make_event())
    assert wire.cut_after is None
    assert (await store.incidents.get(incident)).sightings == 1 and len((await store.incidents.find()).items) == 1
    wire.cut_after = b"COMMIT"
    assert (await store.posts.claim(incident, "x", "event-1", Caption(en="a", ko="b"))).outcome == "ours"
    wire.cut_after = b"COMMIT"
    await store.posts.confirm(incident, "x", text=Caption(en="a", ko="b"), snapshot_key=None, reference="r")
    assert len(await store.posts.newest("x")) == 1


async def test_server_that_is_away_for_a_moment_is_waited_for(wire, make_event):
    wire, store = wire
    wire.is_down = True
    wire.cut()
    recording = asyncio.create_task(store.sightings.record(make_event()))
    await asyncio.sleep(0.7)
    assert not recording.done()
    wire.is_down = False
    assert await recording == 1


async def test_server_that_stays_away_is_one_clear_line(wire, make_event, monkeypatch):
    monkeypatch.setattr(failures, "_RETRY_S", 0.3)
    wire, store = wire
    wire.is_down = True
    wire.cut()
    with pytest.raises(StoreError, match="check BONGSU_DATABASE_URL") as refusal:
        await store.sightings.record(make_event())
    assert "\n" not in str(refusal.value) and ":bongsu@" not in str(refusal.value)


async def test_deadlock_is_tried_again(mysql_url, make_event):
    store = await Store.open(mysql_url)
    await store.sightings.record(make_event())
    other = create_async_engine(mysql_url)
    async with other.connect() as connection:
        # The server prefers to abort the transaction with fewer changes.
        for number in range(50):
            await connection.execute(text("insert into counter (id, value) values (:id, 0)"), {"id": 100 + number})
        await connection.execute(text("update incidents set pin_s = 9 where id = 1"))
        before = failures.retries_total._value.get()
        captioning = asyncio.create_task(store.captions.add(make_event("captioned", hazard="fire"), "key"))
        await asyncio.sleep(0.3)
        await connection.execute(text("update counter set value = value where id = 1"))
        await asyncio.sleep(0.3)
        await connection.rollback()
    await other.dispose()
    assert await captioning == 1
    assert failures.retries_total._value.get() > before
    assert (await store.incidents.get(1)).snapshot_key == "key"
    await store.close()


async def test_lock_that_is_held_for_long_is_waited_for(mysql_url, make_event, monkeypatch):
    monkeypatch.setattr(database_module, "_LOCK_WAIT_S", 1)
    store = await Store.open(mysql_url)
    other = create_async_engine(mysql_url)
    before = failures.retries_total._value.get()
    async with other.begin() as connection:
        await connection.execute(text("update counter set value = value + 1"))
        recording = asyncio.create_task(store.sightings.record(make_event()))
        await asyncio.sleep(1.4)
    await other.dispose()
    assert await recording == 1
    assert failures.retries_total._value.get() > before
    await store.close()


async def test_what_never_works_is_given_up(monkeypatch):
    monkeypatch.setattr(failures, "_RETRY_S", 0.2)
    tries = []

    @persistent
    async def fail() -> None:
        tries.append(time.monotonic())
        raise PassingError("away")

    with pytest.raises(PassingError):
        await fail()
    assert len(tries) >= 2


async def test_reader_sees_one_state_whatever_the_server_is_set_to(mysql_url, make_event):
    server = create_async_engine(mysql_url, isolation_level="AUTOCOMMIT")
    ask = "show global variables where variable_name in ('tx_isolation', 'transaction_isolation')"
    async with server.connect() as connection:
        usual = (await connection.execute(text(ask))).all()[0][1].replace("-", " ")
        await connection.execute(text("set global transaction isolation level read committed"))
        try:
            store, database = await Store.open(mysql_url), await Database.open(mysql_url)
            async with database.read() as reading:
                newest = select(schema.counter.c.value)
                before = (await reading.execute(newest)).scalar_one()
                await store.sightings.record(make_event())
                assert (await reading.execute(newest)).scalar_one() == before
                assert (await reading.execute(select(schema.incidents))).all() == []
            assert len((await store.revisions.changes_after(before)).items) == 1
        finally:
            await connection.execute(text(f"set global transaction isolation level {usual}"))
    await database.close()
    await store.close()
    await server.dispose()
