"""One worker never goes to two clients, and nobody who asks is left without an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from tests.sessions.cluster import BACKENDS, ask, running_cluster, text, url_of

WORKERS, CLAIMS = 8, 200


async def _ask_all(bases: list[str], count: int, prefix: str = "car") -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        return await asyncio.gather(
            *(
                client.post(
                    f"{bases[n % len(bases)]}/sessions",
                    json={"kind": "scalar", "client": f"{prefix}-{n}"},
                    headers={"Idempotency-Key": f"{prefix}-{n}"},
                )
                for n in range(count)
            )
        )


@pytest.mark.parametrize("on", BACKENDS)
def test_200_claims_at_once_on_two_servers(on: str) -> None:
    # Room for the pool alone: what is claimed is not replaced, and the rest must wait.
    cores = str(WORKERS * 0.05 + 0.001)
    with running_cluster(
        on, sessions_warm=f"scalar={WORKERS}", sessions_cores=cores, sessions_per_owner="1000", rate_limit="0"
    ) as cluster:
        bases = [cluster.serve(), cluster.serve()]
        cluster.await_idle("scalar", WORKERS)
        answers = asyncio.run(_ask_all(bases, CLAIMS))
        assert Counter(a.status_code for a in answers) == {201: WORKERS, 202: CLAIMS - WORKERS}
        listed = cluster.list_all()["sessions"]
        owners = Counter(s["worker"] for s in listed if s["worker"])
        assert len(listed) == len({a.json()["id"] for a in answers}) == CLAIMS
        assert len(owners) == WORKERS
        assert set(owners.values()) == {1}
        assert sorted(s["place"] for s in listed if not s["worker"]) == list(range(1, CLAIMS - WORKERS + 1))
        # The workers themselves say the same: each answers for one session.
        for answer in answers:
            if answer.status_code == 201:
                session = answer.json()
                with connect(url_of(session)) as ws:
                    assert msgspec.json.decode(ws.recv())["session"] == session["id"]
        # A repeated request gets the same answer everywhere, and starts nothing.
        again = asyncio.run(_ask_all(bases[::-1], CLAIMS))
        assert [a.json()["id"] for a in again] == [a.json()["id"] for a in answers]
        # Who leaves makes place for the first in line.
        first_in_line = min((s for s in listed if not s["worker"]), key=lambda s: s["place"])["id"]
        ready = next(a.json() for a in answers if a.status_code == 201)
        httpx.delete(f"{bases[0]}/sessions/{ready['id']}", headers={"Session-Token": ready["token"]})
        waiting = next(a.json() for a in answers if a.json()["id"] == first_in_line)
        came = httpx.get(
            f"{bases[1]}/sessions/{first_in_line}?wait_s=20", headers={"Session-Token": waiting["token"]}, timeout=30
        )
        assert came.json()["state"] == "ready"


@pytest.mark.parametrize("on", BACKENDS)
def test_killed_receive_server_answers_every_client(on: str) -> None:
    with running_cluster(
        on, sessions_warm="scalar=2", sessions_per_owner="1000", sessions_cores="1", rate_limit="0"
    ) as cluster:
        base = cluster.serve()
        cluster.await_idle("scalar", 2)
        kept = ask(base, client="kept").json()
        results: list[Any] = []
        with connect(url_of(kept)) as ws:
            resume = msgspec.json.decode(ws.recv())["resume"]
            ws.send(text({"n": 1, "row": [0.5] * 4}))
            results.append(msgspec.json.decode(ws.recv()))

            async def ask_and_kill() -> int:
                asking = [asyncio.create_task(_ask_one(base, n)) for n in range(12)]
                await asyncio.sleep(0.05)
                os.kill(cluster.servers[0].pid, signal.SIGKILL)
                return sum(1 for answer in await asyncio.gather(*asking) if answer is None)

            assert asyncio.run(ask_and_kill()) > 0, "killed too late to matter: raise the count"
        cluster.servers[0].end(signal.SIGKILL)
        cluster.servers[0].start()
        cluster.await_server(cluster.ports[0])
        # The session went on in its worker; the client comes back to it.
        with connect(url_of(kept, resume=resume, after=0)) as ws:
            assert msgspec.json.decode(ws.recv())["resumed"] is True
            assert msgspec.json.decode(ws.recv())["result"] == results[0]["result"]
        # Everybody who asks again has one session, whether the first request had been recorded or not.
        answers = [ask(base, client=f"c-{n}", headers={"Idempotency-Key": f"c-{n}"}) for n in range(12)]
        assert {a.status_code for a in answers} <= {201, 202}
        listed = cluster.list_all()["sessions"]
        assert sorted(s["client"] for s in listed) == sorted(["kept", *(f"c-{n}" for n in range(12))])
        owners = Counter(s["worker"] for s in listed if s["worker"])
        assert set(owners.values()) == {1}
        for answer in answers:
            session = answer.json()
            httpx.delete(f"{base}/sessions/{session['id']}", headers={"Session-Token": session["token"]})
        _until(lambda: len(cluster.workers()) <= 1 + 2, "workers of ended sessions are left")


def test_nothing_is_left_of_a_killed_agent() -> None:
    with running_cluster(sessions_warm="scalar=2", sessions_wait_s="20") as cluster:
        base = cluster.serve()
        cluster.await_idle("scalar", 2)
        key = {"Idempotency-Key": "trip"}
        before = ask(base, headers=key).json()
        workers = cluster.workers()
        assert len(workers) >= 2
        cluster.agent.end(signal.SIGKILL)
        _until(lambda: not any(w.is_running() for w in workers), "workers outlive their agent")
        left = (cluster.folder / "sockets").readlink()
        assert left.is_dir()
        cluster.agent.start()
        _until(lambda: not left.exists(), "sockets of the killed agent are left")
        # The receive server finds the new agent by itself, and the client gets its session again.
        after = ask(base, headers=key)
        assert after.status_code == 201, after.text
        assert after.json()["id"] == before["id"]
        with connect(url_of(after.json())) as ws:
            assert msgspec.json.decode(ws.recv())["type"] == "hello"


async def _ask_one(base: str, n: int) -> httpx.Response | None:
    async with httpx.AsyncClient(timeout=60) as client:
        try:
            return await client.post(
                f"{base}/sessions",
                json={"kind": "scalar", "client": f"c-{n}"},
                headers={"Idempotency-Key": f"c-{n}"},
            )
        except httpx.HTTPError:
            return None


def _until(is_so: Any, what: str, within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(what)
        time.sleep(0.1)
