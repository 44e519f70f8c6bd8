"""The page in a real browser on the real API, in a process of its own: live, reviewed by roles, through a restart."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions import Held, Place, encode
from functions.event import utc_now
from notify.channels.feed import Feed
from notify.map import Map, put_on_map
from notify.post import PosterResources, post
from store import Store
from store.snapshots import Snapshots
from web.keys import new_key

from .conftest import Open

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


class Site:
    """The API as a process; what it needs is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {}
        lines = []
        for role in ("viewer", "operator"):
            text, key = new_key(f"{role}-1", role)
            self.keys[role] = text
            lines.append(f"{key.name} {key.role} {key.digest}")
        (folder / "keys").write_text("\n".join(lines) + "\n")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        environment = os.environ | {
            "BONGSU_DATABASE_URL": f"sqlite+aiosqlite:///{self.folder}/bongsu.db",
            "BONGSU_SNAPSHOT_URL": str(self.folder / "snapshots"),
            "BONGSU_HTTP_PORT": str(self.port),
            "BONGSU_API_KEYS": str(self.folder / "keys"),
        }
        command = [sys.executable, "-m", "api.server"]
        self.process = subprocess.Popen(command, env=environment | settings, stdout=subprocess.DEVNULL)
        for _ in range(600):
            assert self.process.poll() is None, "the API ended"
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        pytest.fail("the API did not answer within a minute")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None

    def see(self, *events: Any) -> None:
        """Put events on the map as its function does."""
        run_apart(self._see(events, is_posted=False))

    def post(self, *events: Any) -> None:
        """Post events in the feed as that function does."""
        run_apart(self._see(events, is_posted=True))

    async def _see(self, events: tuple[Any, ...], *, is_posted: bool) -> None:
        store = await Store.open(f"sqlite+aiosqlite:///{self.folder}/bongsu.db")
        try:
            snapshots = Snapshots.open(str(self.folder / "snapshots"))
            for event in events:
                if is_posted:
                    await post(event, PosterResources(store, snapshots, (Feed(),)))
                else:
                    await put_on_map(event, Map(store, snapshots))
        finally:
            await store.close()


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread of its own: the browser's driver holds this thread's loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


@pytest.fixture
def seen(make_event: Callable[..., Any]) -> Callable[..., Any]:
    """An event of now at a camera of its own."""

    def seen(name: str, type_: str = "fire", **fields: Any) -> Any:
        given = {
            "id_": f"{name[:40]} {type_}",
            "camera": f"camera of {name}"[:60],
            "place": Place(lat=37.55, lon=126.95, name=name),
            "captured_at": utc_now() - timedelta(seconds=1),
        }
        return make_event(type_, **given | fields)

    return seen


def sign_in(page: Any, key: str) -> None:
    page.locator("#account").click()
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_sighting_becomes_a_pin_then_gets_its_picture_and_words(
    site: Site, open_page: Open, seen: Callable[..., Any]
) -> None:
    page = open_page(site)
    site.see(seen("East gate"))
    expect(page.get_by_role("button", name="Fire, East gate")).to_be_visible()
    page.get_by_role("button", name="Fire, East gate").click()
    expect(page.locator("#detail")).to_contain_text("No description yet.")
    expect(page.locator(".stage")).not_to_have_count(0)
    captioned = seen("East gate", "captioned", hazard="fire", id_="East gate fire")
    site.see(captioned)
    expect(page.locator("#detail")).to_contain_text("Fire at Sinchon Market.")
    expect(page.locator(".stage-name", has_text="Post")).to_have_count(0)
    # How long the post took is shown as soon as it is out.
    site.post(captioned)
    expect(page.locator(".stage-name", has_text="Post")).to_have_count(1)
    expect(page.locator(".detail-picture img")).to_have_js_property("complete", True)
    assert page.locator(".detail-picture img").evaluate("(image) => image.naturalWidth") > 0
    assert page.complaints == []


def test_only_an_operator_reviews_and_everyone_sees_it(site: Site, open_page: Open, seen: Callable[..., Any]) -> None:
    site.see(seen("North gate", "gun"))
    visitor, operator, viewer = (open_page(site) for _ in range(3))
    sign_in(viewer, site.keys["viewer"])
    sign_in(operator, site.keys["operator"])
    for page in (visitor, operator, viewer):
        page.get_by_role("button", name="Gun, North gate").click()
        expect(page.locator("#detail-title")).to_have_text("North gate")
    operator.get_by_role("button", name="False alarm …").click()
    operator.get_by_label("Note (optional)").fill(HOSTILE)
    operator.get_by_role("button", name="Mark as false alarm").click()
    for page in (visitor, operator, viewer):
        expect(page.locator(".verdict")).to_contain_text("False alarm by operator-1")
        expect(page.locator(".verdict-note")).to_have_text(HOSTILE)
        expect(page.locator(".detail .tag.is-false")).to_have_text("False alarm")
        assert page.evaluate("window.hacked") is None
        assert page.complaints == []
    assert viewer.get_by_role("button", name="Take back").count() == 0
    operator.get_by_role("button", name="Take back").click()
    expect(visitor.locator(".verdict")).to_have_count(0)
    refused = viewer.evaluate(
        """(id) => fetch(`/api/incidents/${id}/review`, {method: "POST", body: '{"verdict":"acknowledged","note":""}',
            headers: {"Content-Type": "application/json"}}).then((response) => response.status)""",
        visitor.url.split("=")[-1],
    )
    assert refused == 403


def test_only_an_operator_reads_and_publishes_a_held_alert(
    site: Site, open_page: Open, seen: Callable[..., Any]
) -> None:
    site.see(seen("West gate"))
    visitor, operator = open_page(site), open_page(site)
    sign_in(operator, site.keys["operator"])
    for page in (visitor, operator):
        page.get_by_role("button", name="Fire, West gate").click()
        expect(page.locator(".detail .tag.is-open")).to_have_text("Ongoing")
    alert = seen("West gate", "captioned", hazard="fire", id_="West gate fire")
    kept = {name: getattr(alert, name) for name in ("id", "hazard", "camera", "place", "captured_at")}
    site.see(Held(alert=encode(alert).body, **kept))
    for page in (visitor, operator):
        expect(page.locator(".detail .tag.is-false")).to_have_text("Held for review")
    expect(visitor.locator(".review")).to_contain_text("waits for an operator")
    expect(visitor.locator("#detail")).to_contain_text("No description yet.")
    expect(visitor.get_by_role("button", name="Publish")).to_have_count(0)
    # The open panel is completed while it is read.
    expect(operator.locator("#detail")).to_contain_text("Fire at Sinchon Market.")
    expect(operator.locator(".detail-picture img")).to_have_js_property("complete", True)
    assert operator.locator(".detail-picture img").evaluate("(image) => image.naturalWidth") > 0
    operator.get_by_role("button", name="Publish").click()
    for page in (visitor, operator):
        expect(page.locator(".verdict")).to_contain_text("Acknowledged by operator-1")
        expect(page.locator(".detail .tag.is-open")).to_have_text("Ongoing")
        expect(page.locator("#detail")).to_contain_text("Fire at Sinchon Market.")
        assert page.complaints == []


def test_page_resumes_after_the_api_restarts(site: Site, open_page: Open, seen: Callable[..., Any]) -> None:
    site.see(seen("Before"))
    page = open_page(site)
    expect(page.get_by_role("button", name="Before")).to_be_visible()
    site.stop()
    expect(page.locator("#link")).to_have_attribute("data-state", "lost")
    site.see(seen("Meanwhile", "knife"))
    site.start()
    expect(page.get_by_role("button", name="Meanwhile")).to_be_visible()
    site.see(seen("Afterwards", "accident"))
    expect(page.get_by_role("button", name="Afterwards")).to_be_visible()
    assert page.get_by_role("button", name="Meanwhile").count() == 1


def test_filters_and_hostile_names_hold_on_the_real_api(site: Site, open_page: Open, seen: Callable[..., Any]) -> None:
    site.see(seen(HOSTILE, "knife", camera=HOSTILE[:60]), seen("Quiet street", "accident"))
    page = open_page(site, "/?hazard=knife&span=week&status=open")
    expect(page.get_by_role("button", name="Knife, <img").or_(page.locator(".pin-count")).first).to_be_attached()
    expect(page.locator(".pin.hazard-accident")).to_have_count(0)
    assert page.evaluate("window.hacked") is None
    assert page.complaints == []


def test_site_read_by_key_opens_with_a_viewers_key(site: Site, open_page: Open, seen: Callable[..., Any]) -> None:
    site.see(seen("Behind the gate"))
    site.stop()
    site.start(BONGSU_API_READ="key")
    try:
        page = open_page(site, "/", state="locked")
        assert page.locator(".pin").count() == 0
        page.get_by_label("Key", exact=True).fill(site.keys["viewer"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Behind the gate")).to_be_visible()
        expect(page.locator("#link")).to_have_attribute("data-state", "live")
    finally:
        site.stop()
        site.start()
