"""The page as an app: offline, under a path of its own, warned by push, and driving.

Chromium's own push service cannot be replaced, so the browser's subscription is one of the push service of the tests;
what that receives from the real function is delivered to the real service worker over the DevTools protocol.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.event import Reviewed, utc_now
from functions.push_keys import new_key
from functions.settings import Secret
from notify.push import Push, push
from notify.pushing.sender import open_sender
from notify.pushing.settings import PushSettings
from store import Store
from store.snapshots import Snapshots
from tests.push_service import Browser, PushService

from .conftest import Open
from .fixture_server import Server, incident
from .test_page_real import Site, run_apart, seen  # noqa: F401 - a fixture

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
SINCHON = {"latitude": 37.55, "longitude": 126.95}
# What is spoken, and whether the screen is kept on: a browser without a screen has neither a voice nor a lock.
RECORD = """
  window.spoken = [];
  window.locks = [];
  speechSynthesis.speak = (said) => window.spoken.push([said.lang, said.text]);
  Object.defineProperty(navigator, "wakeLock", { value: { request: async (kind) => {
    window.locks.push(kind);
    return { release: () => window.locks.push("released") };
  } } });
"""


def fake_subscription(browser: Browser) -> str:
    """A script by which the page's subscription is that of the tests' push service."""
    endpoint = browser.endpoint
    keys = {"p256dh": endpoint.p256dh, "auth": endpoint.auth}
    return f"""
      let current = null;
      PushManager.prototype.getSubscription = async () => current;
      PushManager.prototype.subscribe = async ({{ applicationServerKey, userVisibleOnly }}) => {{
        if (userVisibleOnly !== true) throw new Error("must be visible");
        const text = applicationServerKey.replaceAll("-", "+").replaceAll("_", "/");
        const key = Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer;
        current = {{
          endpoint: {json.dumps(endpoint.url)}, options: {{ applicationServerKey: key }},
          toJSON: () => ({{ endpoint: {json.dumps(endpoint.url)}, keys: {json.dumps(keys)} }}),
          unsubscribe: async () => {{ current = null; return true; }},
        }};
        return current;
      }};"""


class Worker:
    """The service worker of a page, over the DevTools protocol."""

    def __init__(self, page: Any) -> None:
        self._page = page
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        self._session = page.context.new_cdp_session(page)
        found: list[str] = []
        self._session.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: found.extend(each["registrationId"] for each in event["registrations"]),
        )
        self._session.send("ServiceWorker.enable")
        page.wait_for_timeout(200)
        self._registration = found[0]

    def deliver(self, data: str) -> None:
        origin = self._page.evaluate("location.origin")
        given = {"origin": origin, "registrationId": self._registration, "data": data}
        self._session.send("ServiceWorker.deliverPushMessage", given)

    def notifications(self) -> list[dict[str, Any]]:
        return self._page.evaluate(
            """() => navigator.serviceWorker.ready.then((one) => one.getNotifications()).then((all) => all.map((one) =>
              ({ title: one.title, body: one.body, tag: one.tag, silent: one.silent, image: one.image })))"""
        )

    def wait_for(self, title: str) -> dict[str, Any]:
        for _ in range(100):
            shown = self.notifications()
            if [each["title"] for each in shown] == [title]:
                return shown[0]
            self._page.wait_for_timeout(100)
        pytest.fail(f"no notification {title!r}: {self.notifications()}")


@pytest.fixture
def warned(tmp_path: Path) -> Iterator[tuple[Site, Browser, Callable[..., None]]]:
    """A site that sends warnings, a browser at a push service, and what the function makes of events."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    browser = Browser(f"http://127.0.0.1:{port}/push/page")
    private, public = new_key()
    allow = f"127.0.0.1:{port}"
    site = Site(tmp_path)

    async def handle(*events: Any) -> None:
        settings = PushSettings(Secret(private), "mailto:ops@city.example", push_allow=allow)
        store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/bongsu.db")
        async with PushService(port) as service, open_sender(settings) as sender:
            service.browsers["page"] = browser
            resources = Push(store, Snapshots.open(str(tmp_path / "snapshots")), sender, settings)
            for event in events:
                for batch in await push(event, resources):
                    await push(batch, resources)
        await store.close()

    site.start(BONGSU_PUSH_PUBLIC_KEY=public, BONGSU_PUSH_ALLOW=allow, BONGSU_BROKER_URL="memory://")
    yield site, browser, lambda *events: run_apart(handle(*events))
    site.stop()


def test_reader_is_warned_then_the_alert_is_withdrawn(
    warned: Any,
    open_page: Open,
    seen: Callable[..., Any],  # noqa: F811
) -> None:
    site, phone, handle = warned
    page = open_page(
        site, permissions=["notifications", "geolocation"], geolocation=SINCHON, init=fake_subscription(phone)
    )
    page.get_by_role("button", name="Warn me").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Warn me").click()
    expect(dialog.get_by_role("alert")).to_have_text("Touch the map to choose where.")
    dialog.get_by_role("button", name="My location").click()
    expect(page.locator(".watch-area")).to_be_attached()
    dialog.get_by_label("Gun").uncheck()
    dialog.get_by_label("Quiet hours").check()
    dialog.get_by_label("From", exact=True).fill("00:00")
    dialog.get_by_label("To", exact=True).fill("00:01")
    dialog.get_by_role("button", name="Warn me").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Warnings are on")).to_be_visible()

    handle(seen("East gate", "captioned", hazard="fire"), seen("Far away", "captioned", hazard="gun"))
    assert [each["title"] for each in phone.received] == ["Fire · East gate"]
    worker = Worker(page)
    worker.deliver(json.dumps(phone.received[0]))
    shown = worker.wait_for("Fire · East gate")
    assert (shown["tag"], shown["silent"], shown["body"]) == ("incident-1", False, "Fire at Sinchon Market.")
    picture = page.request.get(shown["image"])
    assert picture.status == 200 and picture.headers["content-type"] == "image/jpeg"

    # The notification leads to the alert in the page that is open already.
    (running,) = page.context.service_workers
    running.evaluate(
        "() => { WindowClient.prototype.focus = async () => {}; return open('./?incident=1').then(() => 1); }"
    )
    expect(page.locator("#detail-title")).to_have_text("East gate")

    async def review() -> None:
        store = await Store.open(f"sqlite+aiosqlite:///{site.folder}/bongsu.db")
        await store.reviews.give(1, "false_alarm", by="kim")
        await store.close()

    run_apart(review())
    handle(Reviewed(id="r", incident=1, verdict="false_alarm", reviewed_at=utc_now()))
    worker.deliver(json.dumps(phone.received[1]))
    assert worker.wait_for("False alarm: Fire · East gate")["silent"]
    # A message that was overtaken does not bring it back.
    worker.deliver(json.dumps(phone.received[0]))
    page.wait_for_timeout(300)
    assert [each["title"] for each in worker.notifications()] == ["False alarm: Fire · East gate"]

    page.get_by_role("button", name="Warnings are on").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop warnings").click()
    expect(page.get_by_role("button", name="Warn me")).to_be_visible()
    handle(seen("West gate", "captioned", hazard="fire"))
    assert len(phone.received) == 2
    assert page.complaints == []


def test_message_that_is_not_ours_shows_something_harmless(server: Server, open_page: Open) -> None:
    page = open_page(server, permissions=["notifications"])
    worker = Worker(page)
    worker.deliver("not json")
    assert worker.wait_for("Bongsu 봉수")["image"] in ("", None)
    worker.deliver(json.dumps({"tag": "bongsu", "title": "<b>x</b>", "image": "https://elsewhere.example/spy.png"}))
    assert worker.wait_for("<b>x</b>")["image"] in ("", None)


def test_page_opens_without_a_network_under_a_path(tmp_path: Path, open_page: Open) -> None:
    site = Site(tmp_path)
    base = f"{site.url}/cctv"
    site.start(BONGSU_PUBLIC_URL=base)
    try:
        page = open_page(site, "/cctv/")
        scope = page.evaluate("navigator.serviceWorker.ready.then((one) => one.scope)")
        assert scope == f"{base}/"
        manifest = page.request.get(f"{base}/manifest.webmanifest")
        assert manifest.headers["content-type"] == "application/manifest+json"
        for icon in manifest.json()["icons"]:
            assert page.request.get(f"{base}/{icon['src']}").headers["content-type"] == "image/png"
        page.wait_for_function("navigator.serviceWorker.controller !== null")
        problems = page.context.new_cdp_session(page).send("Page.getInstallabilityErrors")
        assert [each["errorId"] for each in problems["installabilityErrors"]] in ([], ["in-incognito"])
    finally:
        site.stop()
    page.reload()
    expect(page.locator("#link")).to_have_attribute("data-state", "lost")
    expect(page.get_by_role("link", name="Drive")).to_be_visible()
    expect(page.locator(".chip")).to_have_count(4)
    page.goto(f"{base}/feed")
    expect(page.locator("#feed-title")).to_be_visible()


def test_driver_hears_of_what_is_ahead(server: Server, open_page: Open) -> None:
    world = server.world
    world.incidents.clear()
    for number, (hazard, place, lat) in enumerate(
        [("fire", "North bridge", 37.5700), ("accident", "South ramp", 37.5570), ("knife", "North tower", 37.6400)], 101
    ):
        world.push_incident(incident(number, hazard, place, 126.95, lat))
    page = open_page(server, "/drive", width=390, permissions=["geolocation"], geolocation=SINCHON, init=RECORD)
    page.context.set_geolocation({"latitude": 37.5600, "longitude": 126.95})
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".drive-card")).to_have_count(3)
    # Northward: what was nearest lies behind now.
    page.context.set_geolocation({"latitude": 37.5605, "longitude": 126.95})
    expect(page.locator(".drive-card").first).to_contain_text("North bridge")
    expect(page.locator(".drive-card").first).to_contain_text("1.1 km")
    expect(page.locator(".drive-card").last).to_contain_text("behind")
    page.context.set_geolocation({"latitude": 37.5640, "longitude": 126.95})
    expect(page.locator(".drive-card").first).to_contain_text("650 m")
    languages, spoken = zip(*page.evaluate("window.spoken"), strict=True)
    assert set(languages) == {"en-US"}
    assert spoken[0] == "The driving view is on."
    assert "Fire, 650 metres ahead. North bridge" in spoken and len([s for s in spoken if "North bridge" in s]) == 2
    assert page.evaluate("window.locks") == ["screen"]
    world.review(101, {"verdict": "false_alarm", "by": "kim", "at": "2026-11-22T03:00:00Z", "note": ""})
    expect(page.locator(".drive-card").first).to_contain_text("North tower")
    page.get_by_role("button", name="Stop").click()
    assert page.evaluate("window.locks") == ["screen", "released"]
    assert page.complaints == []


def test_driving_view_says_what_is_missing(server: Server, open_page: Open) -> None:
    page = open_page(server, "/drive", width=390, init=RECORD, locale="ko-KR")
    page.get_by_role("button", name="시작").click()
    expect(page.locator(".drive-status")).to_have_text(
        "현재 위치를 찾지 못했습니다. 브라우저 설정에서 위치를 허용하세요."
    )
    page.get_by_role("link", name="지도").click()
    expect(page.locator("#drive")).to_be_hidden()
