"""What the API says of alerts that did not go out."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import structlog
from prometheus_client import REGISTRY

from api import audit
from functions import Caption
from functions.event import utc_now

TEXT = Caption(en="Fire.", ko="화재.")


def missing(channel):
    return REGISTRY.get_sample_value("bongsu_alerts_missing", {"channel": channel})


async def test_alert_missing_on_one_channel_is_counted_until_posted(store, make_event, monkeypatch):
    monkeypatch.setattr(audit, "_EVERY_S", 0.01)
    seen = make_event(captured_at=utc_now() - timedelta(hours=1))
    incident = await store.sightings.record(seen)
    for channel in ("feed", "mastodon"):
        await store.posts.claim(incident, channel, seen.id)
    await store.posts.confirm(incident, "feed", text=TEXT, snapshot_key=None, reference="1")
    with structlog.testing.capture_logs() as logs, contextlib.suppress(TimeoutError):
        async with audit.auditing(store), asyncio.timeout(20):
            while missing("mastodon") != 1:
                await asyncio.sleep(0.01)
            await store.posts.confirm(incident, "mastodon", text=TEXT, snapshot_key=None, reference="2")
            while missing("mastodon") != 0:
                await asyncio.sleep(0.01)
    assert (missing("feed"), missing("mastodon")) == (0, 0)
    (line,) = [line for line in logs if line["event"] == "alerts_missing"]
    assert (line["channel"], line["incidents"], line["log_level"]) == ("mastodon", [incident], "warning")


async def test_a_database_that_is_away_does_not_end_the_audit(store, monkeypatch):
    monkeypatch.setattr(audit, "_EVERY_S", 0.01)
    await store.close()
    asked = asyncio.Event()

    async def away(*_):
        asked.set()
        raise audit.StoreError("database is away")

    monkeypatch.setattr(store.posts, "missing", away)
    with structlog.testing.capture_logs() as logs:
        async with audit.auditing(store), asyncio.timeout(20):
            for _ in range(2):
                await asked.wait()
                asked.clear()
    assert [line["reason"] for line in logs if line["event"] == "alerts_not_audited"][:1] == ["database is away"]
