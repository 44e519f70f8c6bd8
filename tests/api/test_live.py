"""The live stream over WebSocket, and what both kinds refuse."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.settings import Settings
from functions import Place


async def take(socket: ClientConnection, count: int) -> list[dict]:
    """So many messages, `pipeline` left out."""
    received = []
    async with asyncio.timeout(20):
        while len(received) < count:
            message = json.loads(await socket.recv())
            if message["event"] != "pipeline":
                received.append(message)
    return received


@pytest.fixture
async def live(tmp_path, database_url, keys, serve):
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), api_keys=str(tmp_path / "keys"),
        cors_origins="https://map.example.org", streams_max=3,
    )  # fmt: skip
    async with serve(settings) as (url, site):
        yield url.replace("http://", "ws://"), site


async def test_messages_are_the_events_of_the_stream_and_resume(live, make_event):
    url, site = live
    await site.store.sightings.record(make_event(id_="a"))
    async with connect(f"{url}/api/incidents/ws?after=0") as socket:
        (received,) = await take(socket, 1)
        assert received["event"] == "incident" and received["data"]["properties"]["hazard"] == "fire"
        last = received["id"]
        await site.store.sightings.record(make_event("gun", id_="b"))
        (received,) = await take(socket, 1)
        assert received["id"] > last and received["data"]["properties"]["hazard"] == "gun"
    await site.store.cameras.record(make_event("camera"))
    async with connect(f"{url}/api/incidents/ws?after={received['id']}") as socket:
        (received,) = await take(socket, 1)
        assert (received["event"], received["data"]["id"]) == ("camera", "gate-1")


async def test_only_what_was_asked_for_is_told(live, make_event):
    url, site = live
    async with (
        connect(f"{url}/api/incidents/ws?hazard=gun") as guns,
        connect(f"{url}/api/incidents/ws?bbox=170,-20,-170,0") as pacific,
    ):
        while site.hub.readers < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await site.store.sightings.record(make_event("fire", id_="a"))
        await site.store.sightings.record(make_event("gun", id_="b"))
        suva = Place(-17.8, 179.5, "Suva")
        await site.store.sightings.record(make_event("fire", id_="c", camera="suva", place=suva))
        await site.store.cameras.record(make_event("camera"))
        assert [received["data"]["properties"].get("hazard") for received in await take(guns, 2)] == ["gun", None]
        assert [received["data"]["properties"]["place"] for received in await take(pacific, 2)] == [
            "Suva",
            "Sinchon Market",
        ]


@pytest.mark.parametrize(
    ("query", "origin", "status"),
    [
        ("?hazard=smoke", None, 422), ("?bbox=1", None, 422), ("?after=x", None, 422),
        ("", "https://evil.example", 403), ("", "null", 403), ("", "http://[", 403),
    ],
)  # fmt: skip
async def test_what_cannot_be_served_is_refused_before_it_is_opened(live, query, origin, status):
    url, site = live
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(f"{url}/api/incidents/ws{query}", origin=origin):
            pass
    assert refusal.value.response.status_code == status
    assert set(json.loads(refusal.value.response.body)) == {"detail"}
    assert site.hub.readers == 0


async def test_pages_of_ours_and_of_named_sites_are_served(live):
    url, _ = live
    for origin in ("https://map.example.org", url.replace("ws://", "http://")):
        async with connect(f"{url}/api/incidents/ws", origin=origin):
            pass


async def test_reader_too_many_and_another_address_are_refused(live):
    url, site = live
    sockets = [await connect(f"{url}/api/incidents/ws") for _ in range(3)]
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"{url}/api/incidents/ws")
    assert (refusal.value.response.status_code, refusal.value.response.headers["retry-after"]) == (503, "5")
    async with httpx.AsyncClient() as client:
        answer = await client.get(url.replace("ws://", "http://") + "/api/incidents/stream")
        assert answer.status_code == 503 and "3 readers" in answer.json()["detail"]
    for socket in sockets:
        await socket.close()
    async with asyncio.timeout(20):
        while site.hub.readers:
            await asyncio.sleep(0.05)
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"{url}/api/elsewhere")
    assert refusal.value.response.status_code == 404


async def test_reading_by_key_holds_for_streams_too(tmp_path, database_url, keys, serve):
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), api_keys=str(tmp_path / "keys"), api_read="key"
    )
    async with serve(settings) as (url, _):
        address = f"{url.replace('http', 'ws')}/api/incidents/ws"
        with pytest.raises(InvalidStatus) as refusal:
            await connect(address)
        assert refusal.value.response.status_code == 401
        bearer = {"Authorization": f"Bearer {keys['viewer']}"}
        async with connect(address, additional_headers=bearer), httpx.AsyncClient(base_url=url) as client:
            async with client.stream("GET", "/api/incidents/stream", headers=bearer) as answer:
                assert answer.status_code == 200
            # A browser can send no header with a WebSocket, but sends its session.
            await client.post("/api/session", json={"key": keys["viewer"]})
            cookie = {"Cookie": f"bongsu_session={client.cookies['bongsu_session']}"}
        async with connect(address, additional_headers=cookie):
            pass


async def test_key_that_is_taken_back_ends_its_streams(tmp_path, database_url, keys, serve, make_event):
    settings = Settings(
        database_url=database_url, snapshot_url=str(tmp_path / "s"), api_keys=str(tmp_path / "keys"), api_read="key"
    )
    async with serve(settings) as (url, site), httpx.AsyncClient(base_url=url) as client, asyncio.timeout(20):
        bearer = {"Authorization": f"Bearer {keys['viewer']}"}
        await client.post("/api/session", json={"key": keys["viewer"]})
        address = f"{url.replace('http', 'ws')}/api/incidents/ws"
        async with (
            connect(address, additional_headers={"Authorization": f"Bearer {keys['operator']}"}) as kept,
            connect(address, additional_headers={"Cookie": f"bongsu_session={client.cookies['bongsu_session']}"}) as ws,
            client.stream("GET", "/api/incidents/stream", headers=bearer) as events,
        ):
            lines = events.aiter_lines()
            assert await anext(lines) == "retry: 1000"
            left = [line for line in (tmp_path / "keys").read_text().splitlines() if "viewer" not in line]
            (tmp_path / "keys").write_text("\n".join(left))
            await site.store.sightings.record(make_event())
            # They end, and say nothing before they do.
            assert not [line async for line in lines if line.startswith("event: incident")]
            with pytest.raises(ConnectionClosed):
                while json.loads(await ws.recv())["event"] == "pipeline":
                    pass
            assert (await take(kept, 1))[0]["event"] == "incident"


async def test_talking_reader_is_ignored_leaving_one_closed(live, make_event):
    url, site = live
    async with connect(f"{url}/api/incidents/ws") as socket:
        for _ in range(100):
            await socket.send("x" * 1000)
        await site.store.sightings.record(make_event())
        assert (await take(socket, 1))[0]["event"] == "incident"
    async with asyncio.timeout(40):
        while site.hub.readers:
            await asyncio.sleep(0.05)


async def test_streams_end_when_the_process_leaves(live, serve):
    url, site = live
    async with connect(f"{url}/api/incidents/ws") as socket:
        site.hub.end_all()
        with pytest.raises(ConnectionClosed) as closed:
            await take(socket, 1)
        assert closed.value.rcvd.code == 1013
