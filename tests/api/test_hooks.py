"""Hooks: a request becomes an event, a function of the real runtime answers it, and the caller reads the result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from api.server import create_app, open_site
from api.settings import Settings
from functions import Reject, Retry, on
from functions.broker import connect
from functions.function import function_of
from functions.hook import show_hooks
from functions.runtime import run

JSON = {"Content-Type": "application/json"}
calls: list[str] = []


@on.http("/hooks/report", access="key", body_max=1000, rate=600, content_types=("application/json", "text/plain"))
async def report(request):
    calls.append(request.id)
    asked = request.json(dict[str, str])
    if "reject" in asked:
        raise Reject(asked["reject"])
    if "retry" in asked:
        raise Retry(asked["retry"], after=0)
    return {"hello": asked.get("name", "you"), "by": request.caller}


@on.http("/hooks/rare", access="open", rate=1)
def rare(request):
    return request.query


@on.http("/hooks/operate")
async def operate(request): ...


@pytest.fixture
def broker_url(tmp_path, monkeypatch):
    calls.clear()
    monkeypatch.setenv("BONGSU_BROKER_URL", f"sqlite:///{tmp_path}/broker.db")
    return f"sqlite:///{tmp_path}/broker.db"


@contextlib.asynccontextmanager
async def ask(tmp_path, **given) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application that has the hooks above."""
    kept = {"database_url": f"sqlite+aiosqlite:///{tmp_path}/a.db", "snapshot_url": str(tmp_path / "s")}
    hooks = show_hooks(hook for handler in (report, rare, operate) for hook in function_of(handler).hooks)
    async with open_site(Settings(**(kept | {"hooks": hooks, "api_keys": str(tmp_path / "keys")} | given))) as site:
        transport = httpx.ASGITransport(create_app(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://bongsu", headers=JSON) as client:
            client.site = site
            yield client


@contextlib.asynccontextmanager
async def serving(handler, broker_url):
    """A worker of this handler, in this process."""
    stopping, broker = asyncio.Event(), await connect(broker_url)
    work = asyncio.create_task(run(function_of(handler), broker, stopping))
    for _ in range(200):
        with contextlib.suppress(Exception):
            await broker.depth(function_of(handler).queues[0])
            break
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        stopping.set()
        await work
        await broker.close()


def bearer(key, **more):
    return {"Authorization": f"Bearer {key}", **more}


async def test_result_comes_in_time_or_is_found_later(tmp_path, keys, broker_url):
    key = bearer(keys["viewer"])
    async with ask(tmp_path) as client:
        async with serving(report, broker_url):
            done = await client.post("/hooks/report", json={"name": "Kim"}, headers=key | {"Prefer": "wait=20"})
        assert (done.status_code, done.json()["result"]) == (200, {"hello": "Kim", "by": "viewer-1"})
        assert done.headers["preference-applied"] == "wait=20" and done.headers["cache-control"] == "no-store"
        taken = await client.post("/hooks/report", json={"name": "Lee"}, headers=key | {"Prefer": "wait=0.1"})
        assert (taken.status_code, taken.json()["state"]) == (202, "waiting")
        place = taken.headers["location"]
        assert place == taken.json()["url"] == f"/hooks/report/results/{taken.json()['id']}"
        assert (await client.get(place, headers=key)).status_code == 202
        async with serving(report, broker_url):
            found = await client.get(place, headers=key | {"Prefer": "respond-async, wait=20"})
        assert (found.status_code, found.json()["result"]["hello"]) == (200, "Lee")


@pytest.mark.parametrize(
    ("body", "reason", "times"),
    [({"reject": "no such night"}, "no such night", 1), ({"retry": "feed away"}, "feed away", 8), ([], "Expected", 1)],
)
async def test_failed_request_has_a_result_with_the_reason(tmp_path, keys, broker_url, *, body, reason, times):
    async with ask(tmp_path) as client, serving(report, broker_url):
        headers = bearer(keys["operator"], Prefer="wait=30")
        failed = await client.post("/hooks/report", json=body, headers=headers)
        assert (failed.status_code, failed.json()["state"], failed.json()["result"]) == (502, "failed", None)
        assert reason in failed.json()["reason"] and len(calls) == times
        kept = await client.get(failed.json()["url"], headers=headers)
        assert kept.status_code == 200 and kept.json() == failed.json()


async def test_who_may_not_call_is_told_what_it_takes(tmp_path, keys, broker_url):
    async with ask(tmp_path) as client:
        nobody = await client.post("/hooks/report", json={})
        assert nobody.status_code == 401 and "takes a key" in nobody.json()["detail"]
        viewer = await client.post("/hooks/operate", json={}, headers=bearer(keys["viewer"]))
        assert viewer.status_code == 403 and "operator's key" in viewer.json()["detail"]
        missing = await client.post("/hooks/nothing", json={})
        assert missing.status_code == 404 and "no hook 'nothing'" in missing.json()["detail"]
        assert (await client.get("/hooks/report", headers=bearer(keys["viewer"]))).headers["allow"] == "POST, OPTIONS"


async def test_body_is_bounded_and_of_a_known_type(tmp_path, keys, broker_url):
    async with ask(tmp_path) as client:
        key = bearer(keys["viewer"])
        large = await client.post("/hooks/report", content=b"[" + b" " * 1000, headers=key)
        assert large.status_code == 413 and "1000 bytes" in large.json()["detail"]

        async def parts():
            for _ in range(20):
                yield b" " * 100

        assert (await client.post("/hooks/report", content=parts(), headers=key)).status_code == 413
        form = await client.post("/hooks/report", data={"a": "1"}, headers={**key, "Content-Type": "text/html"})
        assert form.status_code == 415 and "application/json or text/plain" in form.json()["detail"]
        assert (await client.post("/hooks/report", content=b"{", headers=key)).status_code == 422


async def test_rate_is_that_of_the_hook(tmp_path, keys, broker_url):
    async with ask(tmp_path) as client, serving(rare, broker_url):
        first = await client.post("/hooks/rare?night=2026-11-27", json={}, headers={"Prefer": "wait=20"})
        assert first.json()["result"] == {"night": "2026-11-27"}
        second = await client.post("/hooks/rare", json={})
        assert second.status_code == 429 and int(second.headers["retry-after"]) <= 60
        # An open hook's result is read by its address alone.
        assert (await client.get(first.json()["url"])).status_code == 200


async def test_idempotency_key_calls_the_function_once(tmp_path, keys, broker_url):
    async with ask(tmp_path) as client, serving(report, broker_url):
        headers = bearer(keys["viewer"], **{"Idempotency-Key": '"night-1"', "Prefer": "wait=20"})
        answers = [await client.post("/hooks/report", json={"name": "Kim"}, headers=headers) for _ in range(3)]
        assert len({answer.text for answer in answers}) == 1 and len(calls) == 1
        other = await client.post("/hooks/report", json={"name": "Lee"}, headers=headers)
        assert other.status_code == 422 and "another body" in other.json()["detail"]
        mine = await client.post("/hooks/report", json={"name": "Kim"}, headers={**headers, **bearer(keys["operator"])})
        assert mine.json()["result"]["by"] == "operator-1" and len(calls) == 2
        # A key reads what it asked; an operator reads all.
        assert (await client.get(mine.json()["url"], headers=bearer(keys["viewer"]))).status_code == 404
        assert (await client.get(answers[0].json()["url"], headers=bearer(keys["operator"]))).status_code == 200


async def test_request_that_was_not_published_is_by_its_repeat(tmp_path, keys, broker_url):
    headers = bearer(keys["viewer"], **{"Idempotency-Key": "night-1", "Prefer": "wait=20"})
    async with ask(tmp_path) as client:
        refused = await client.post("/hooks/report", json={}, headers=headers)
        assert refused.status_code == 503 and "not deployed" in refused.json()["detail"]
        async with serving(report, broker_url):
            assert (await client.post("/hooks/report", json={}, headers=headers)).status_code == 200
        assert len(calls) == 1


async def test_result_is_forgotten_in_time(tmp_path, keys, broker_url):
    async with ask(tmp_path, hook_keep_hours=1e-9) as client, serving(report, broker_url):
        taken = await client.post("/hooks/report", json={}, headers=bearer(keys["viewer"]))
        gone = await client.get(taken.json()["url"], headers=bearer(keys["viewer"]))
        assert gone.status_code == 404 and "results are kept for" in gone.json()["detail"]


def test_wrong_hooks_are_refused_at_start():
    with pytest.raises(ValueError, match="BONGSU_HOOKS must be what `bongsu function hooks` prints"):
        Settings(hooks='[{"nam": "report"}]')
    with pytest.raises(ValueError, match="/hooks/a is there twice"):
        Settings(hooks='[{"name": "a"}, {"name": "a"}]')
