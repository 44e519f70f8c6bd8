"""A worker's side of a move, without a receive server: results that come first, and a move that does not come."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import websockets.asyncio.server as websockets
from websockets.asyncio.client import ClientConnection, unix_connect

from sessions import departure
from sessions.dial import announce_move, give_results, take_results
from sessions.session_worker import SessionWorker


class Echo:
    """A model that answers with the row."""

    takes = "row"

    def run(self, given: Any) -> dict[str, Any]:
        return {"given": given}


@contextlib.asynccontextmanager
async def serving(idle_s: float = 60.0) -> AsyncIterator[tuple[SessionWorker, str]]:
    """A worker, and its address."""
    worker = SessionWorker(Echo(), "scalar", "echo:1", idle_s, moves=True)
    with tempfile.TemporaryDirectory(prefix="bs-") as folder:
        path = str(Path(folder) / "w.sock")
        async with websockets.unix_serve(worker.serve, path, process_request=worker.admit, max_queue=1):
            working = asyncio.create_task(worker.work())
            yield worker, f"unix:{path}"
            working.cancel()


def _connect(address: str, query: str = "") -> Any:
    header = {"X-Bongsu-Session": "s"}
    return unix_connect(address.removeprefix("unix:"), f"ws://worker/{query}", additional_headers=header)


async def _send(ws: ClientConnection, n: int) -> None:
    await ws.send(msgspec.json.encode({"n": n, "row": [n]}).decode())


async def _read(ws: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.json.decode(await asyncio.wait_for(ws.recv(), 5))
    return message


async def test_results_may_come_long_before_the_client() -> None:
    async with serving() as (old, there), serving(idle_s=0.4) as (new, here):
        async with _connect(there) as ws:
            resume = (await _read(ws))["resume"]
            await _send(ws, 1)
            first = await _read(ws)
            # The next worker has waited in the warm pool for longer than a client may be silent.
            await asyncio.sleep(0.5)
            # Two receive servers may bring the same results.
            for _ in range(2):
                await give_results(here, "s", await take_results(there))
        await asyncio.sleep(0.1)
        assert not new.ended.is_set()
        assert not old.ended.is_set()
        async with _connect(here, f"?resume={resume}&after=0") as ws:
            assert (await _read(ws))["resumed"] is True
            assert (await _read(ws))["times"]["received_at"] == first["times"]["received_at"]
            with pytest.raises(OSError, match="does not take"):
                await give_results(here, "s", b'{"resume": "r", "results": []}')


async def test_messages_wait_until_the_move_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "_HOLD_S", 0.3)
    async with serving() as (_, address), _connect(address) as ws:
        await _read(ws)
        kept = msgspec.json.decode(await take_results(address, stays=True))
        assert kept["results"] == []
        for n in range(1, 21):
            await _send(ws, n)
        # Nobody moves the client, because the receive server was killed: nothing is lost.
        assert [(await _read(ws))["n"] for _ in range(20)] == list(range(1, 21))
        kept = msgspec.json.decode(await take_results(address, stays=True))
        assert [result["n"] for result in kept["results"]] == list(range(1, 21))
        await _send(ws, 21)
        assert await announce_move(address, "ws://home/s/s", "t", is_handed_over=True)
        moving = await _read(ws)
        assert (moving["type"], moving["url"], moving["resume"]) == ("moving", "ws://home/s/s", kept["resume"])
