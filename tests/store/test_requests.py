"""Requests and their answers, on every database."""

from __future__ import annotations

from datetime import timedelta

from functions import new_id, utc_now
from store import Store
from store.records import Request


def request(**changes):
    now = utc_now()
    kept = {"id": new_id(), "hook": "report", "caller": "a", "body_digest": "0" * 64, "state": "new"}
    return Request(**(kept | {"received_at": now, "expires_at": now + timedelta(hours=1)} | changes))


async def test_request_is_kept_once_and_answered_once(any_database_url):
    store = await Store.open(any_database_url)
    try:
        first = request()
        assert await store.requests.accept(first, "k") == first
        assert (await store.requests.accept(request(), "k")).id == first.id
        assert (await store.requests.accept(request())).id != first.id
        await store.requests.published(first.id)
        assert (await store.requests.get(first.id)).state == "waiting"
        said = {"result": "[" + "한" * 20_000 + "]", "reason": "", "answered_at": utc_now()}
        assert await store.requests.answer(first.id, state="failed", **(said | {"result": "null"}))
        assert await store.requests.answer(first.id, state="done", **said)
        assert await store.requests.answer(first.id, state="failed", **(said | {"reason": "late"}))
        found = await store.requests.get(first.id)
        assert (found.state, found.result, found.reason) == ("done", said["result"], None)
        assert not await store.requests.answer("unknown", state="done", **said)
    finally:
        await store.close()


async def test_old_requests_are_pruned_and_their_keys_free(store):
    old = request(expires_at=utc_now() - timedelta(seconds=1))
    await store.requests.accept(old, "k")
    assert await store.requests.get(old.id) is None
    new = request()
    assert await store.requests.accept(new, "k") == new
    assert await store.requests.prune() == 0
    await store.requests.accept(request(expires_at=utc_now() - timedelta(seconds=1)))
    assert await store.requests.prune() == 1
