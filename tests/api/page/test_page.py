"""The page in a real browser, against a stand-in for the map API: what it shows for given answers."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.settings import Settings
from tests.api.test_openapi import fill
from tests.stores import MakeEvent, serving_in_thread

from .conftest import Open
from .fixture_server import Server, World, camera, incident, pipeline, post

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
SEOUL = (126.98, 37.56)
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"\'&amp;'


def test_page_loads_cleanly_under_strict_csp(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".card")).to_have_count(6)
    expect(page.locator(".pin")).to_have_count(6)
    page.locator(".pin.hazard-gun").click()
    expect(page.locator("#detail-title")).to_have_text("Office lobby, 2nd floor")
    assert page.complaints == []


def test_page_asks_no_other_host_for_anything(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".pin")).to_have_count(6)
    asked = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert all(url.startswith(server.url) for url in asked)


def test_language_follows_the_browser_and_a_switch_is_remembered(server: Server, open_page: Open) -> None:
    page = open_page(server, locale="ko-KR")
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page.locator("#feed-title")).to_have_text("경보")
    expect(page.locator(".card-text").first).to_contain_text("불꽃")
    page.locator("#language").click()
    expect(page.locator("#feed-title")).to_have_text("Alerts")
    expect(page.locator(".card-text").first).to_contain_text("Flames")
    page.reload()
    expect(page.locator("#feed-title")).to_have_text("Alerts")


def test_third_language_is_one_file_and_a_setting(tmp_path: Path, open_page: Open, make_event: MakeEvent) -> None:
    kept = Settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/a.db", snapshot_url=str(tmp_path / "s"), languages="en,ko,ja"
    )
    with serving_in_thread(kept, lambda site: fill(site, make_event)) as url:
        page = open_page(SimpleNamespace(url=url), locale="ja-JP")
        expect(page.locator("html")).to_have_attribute("lang", "ja")
        expect(page.locator("#feed-title")).to_have_text("警報")
        expect(page.locator(".chip", has_text="火災")).to_be_visible()
        # The button leads through all of them, each by its own name.
        for name, title in (("English", "Alerts"), ("한국어", "경보"), ("日本語", "警報")):
            expect(page.locator("#language-text")).to_have_text(name)
            page.locator("#language").click()
            expect(page.locator("#feed-title")).to_have_text(title)
        # The post that `fill` makes names a picture that is not there.
        assert not [one for one in page.complaints if "404" not in one]


def test_theme_can_be_chosen_and_is_remembered(server: Server, open_page: Open) -> None:
    page = open_page(server, color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    by_day = page.evaluate(paper)
    page.locator("#theme").click()
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(paper) != by_day
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_new_picture_of_an_open_incident_replaces_the_old_one(server: Server, open_page: Open) -> None:
    page = open_page(server, "/#incident=1")
    shown = page.locator(".detail-picture img")
    expect(shown).to_have_attribute("src", "/api/incidents/1/snapshot")
    where = ("Gwangjang Market, east gate", 126.9997, 37.5701)
    server.world.push_incident(incident(1, "fire", *where, snapshot="/api/incidents/1/snapshot?v=9"))
    expect(shown).to_have_attribute("src", "/api/incidents/1/snapshot?v=9")
    expect(shown).to_have_count(1)


def test_card_opens_incident_and_escape_restores_focus(server: Server, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_role("link", name="Mangwon-ro 7 crossing").press("Enter")
    expect(page.locator("#detail")).to_be_focused()
    expect(page.locator("#detail")).to_contain_text("Mapo-gu, Seoul")
    expect(page.locator("#detail .facts")).to_contain_text("1.0 s")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator(".pin:focus")).to_have_attribute(
        "aria-label", re.compile("Accident, Mangwon-ro 7 crossing, .*ago")
    )


def test_incident_without_picture_or_caption_is_shown(server: Server, open_page: Open) -> None:
    server.world.push_incident(incident(70, "fire", "Dark alley", *SEOUL, snapshot=None, caption=None, pin_s=None))
    page = open_page(server, "/#incident=70")
    expect(page.locator("#detail")).to_contain_text("No picture to show")
    expect(page.locator("#detail")).to_contain_text("No description yet.")


def test_pins_at_one_place_do_not_hide_each_other(server: Server, open_page: Open) -> None:
    world = World()
    server.world = world
    for number, hazard in enumerate(("fire", "accident", "gun", "knife", "fire"), 1):
        world.push_incident(incident(number, hazard, "Same corner", *SEOUL))
    page = open_page(server)
    expect(page.locator(".pin")).to_have_count(4)
    expect(page.locator(".pin.hazard-fire .pin-count")).to_have_text("2")
    boxes = [pin.bounding_box() for pin in page.locator(".pin").all()]
    middles = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    apart = [abs(a[0] - b[0]) + abs(a[1] - b[1]) for a in middles for b in middles if a is not b]
    assert min(apart) > 30


def test_crowd_of_places_becomes_a_count_that_opens_on_click(server: Server, open_page: Open) -> None:
    world = World()
    server.world = world
    world.push_incident(incident(100, "gun", "Far away", 129.0, 35.2))
    for number in range(9):
        world.push_incident(
            incident(number, "fire", f"Corner {number}", 127 + number * 0.004, 37.5 + number % 3 * 0.004)
        )
    page = open_page(server)
    crowd = page.locator(".pin.is-crowd")
    expect(crowd.locator(".crowd-count")).to_have_text("9")
    crowd.click()
    expect(page.locator(".pin.hazard-fire:not(.is-crowd)")).to_have_count(9)


def test_hostile_text_stays_text(server: Server, open_page: Open) -> None:
    feature = incident(
        90, "fire", HOSTILE, *SEOUL, camera=HOSTILE, region=HOSTILE, caption={"en": HOSTILE, "ko": HOSTILE},
        snapshot="javascript:window.hacked=1",
    )  # fmt: skip
    server.world.push_incident(feature)
    server.world.push_post(post(feature) | {"image": "javascript:window.hacked=1", "id": HOSTILE})
    server.world.push_camera(camera(HOSTILE, HOSTILE, 126.7, 37.6, f"lost: {HOSTILE}"))
    busy = pipeline(time.time())
    busy["functions"][0]["name"] = HOSTILE
    server.world.push_pipeline(busy)
    decided = {"verdict": "acknowledged", "by": HOSTILE, "at": HOSTILE, "note": HOSTILE}
    server.world.keys = {"key": (HOSTILE, "operator")}
    server.world.review(90, decided)
    page = open_page(server, "/#incident=90")
    expect(page.locator("#detail-title")).to_have_text(HOSTILE)
    expect(page.locator(".verdict-note")).to_have_text(HOSTILE)
    expect(page.locator(".camera-name").first).to_have_text(HOSTILE)
    page.locator(".camera-dot.is-lost").first.hover()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x'], script:not([src])").count() == 0
    assert page.complaints == []


def test_relay_shows_a_function_wake_and_sleep(server: Server, open_page: Open) -> None:
    page = open_page(server)
    detect = page.locator('.node[data-function="detect"]')
    now = time.time()
    server.world.push_pipeline(pipeline(now, {"detect": 0}))
    expect(detect).to_have_attribute("data-replicas", "0")
    expect(detect.locator(".beacon")).not_to_have_class("beacon is-lit")
    server.world.push_pipeline(pipeline(now + 1, {"detect": 1}))
    expect(detect.locator(".node-state")).to_have_text("1 of 2 awake")
    expect(detect.locator(".beacon")).to_have_class("beacon is-lit")
    server.world.push_pipeline(pipeline(now + 2, {"detect": 0}))
    expect(detect.locator(".beacon")).to_have_class("beacon")


def test_camera_that_is_lost_is_named_with_its_reason(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".node-summary")).to_have_text("6 live · 1 lost")
    server.world.push_camera(camera("bridge-1", "Yanghwa Bridge, north", 126.902, 37.544, "lost: refused"))
    expect(page.locator(".node-summary")).to_have_text("5 live · 2 lost")
    expect(page.locator(".camera.is-lost").filter(has_text="Yanghwa")).to_contain_text("lost: refused")


def test_phone_shows_one_view_at_a_time(server: Server, open_page: Open) -> None:
    page = open_page(server, "/feed", width=390)
    expect(page.locator("#relay")).to_be_hidden()
    page.get_by_role("link", name="Relay").click()
    expect(page.locator("#relay")).to_be_visible()
    expect(page.locator("#feed")).to_be_hidden()
    page.get_by_role("link", name="Feed").click()
    page.get_by_role("link", name="Harbour warehouse 3").click()
    expect(page.locator("body")).to_have_attribute("data-view", "map")
    expect(page.locator("#detail-title")).to_have_text("Harbour warehouse 3")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
