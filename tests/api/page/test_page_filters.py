"""The filters and the address bar in a real browser: what is hidden, what is fetched for them, what a link carries."""

from __future__ import annotations

import re

import pytest

from .conftest import Open
from .fixture_server import Server, incident, post

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
SEOUL = (126.98, 37.56)


def test_hazard_filter_hides_pins_and_cards_and_says_how_many(server: Server, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.locator(".pin.hazard-fire")).to_have_count(0)
    expect(page.locator(".card.hazard-fire")).to_have_count(0)
    expect(page.locator("#hidden-count")).to_contain_text("2 hidden by filters")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".card.hazard-fire")).to_have_count(2)


def test_time_filter_hides_what_is_older(server: Server, open_page: Open) -> None:
    feature = incident(60, "gun", "Yesterday's bank", *SEOUL, age_s=2 * 86400, status="closed")
    server.world.push_incident(feature)
    server.world.push_post(post(feature))
    page = open_page(server)
    expect(page.locator(".card")).to_have_count(6)
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(".card")).to_have_count(7)


def test_unknown_hazard_is_shown_and_never_filtered_away(server: Server, open_page: Open) -> None:
    feature = incident(95, "flood", "Riverside", *SEOUL)
    server.world.push_incident(feature)
    server.world.push_post(post(feature))
    page = open_page(server)
    for hazard in ("Accident", "Fire", "Gun", "Knife"):
        page.get_by_role("button", name=hazard, exact=True).click()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".pin.hazard-other")).to_have_count(1)


def test_incident_link_overrides_filters(server: Server, open_page: Open) -> None:
    server.world.push_incident(incident(60, "gun", "Yesterday's bank", *SEOUL, age_s=2 * 86400, status="closed"))
    page = open_page(server, "/#incident=60")
    expect(page.locator("#detail-title")).to_have_text("Yesterday's bank")
    expect(page.locator(".pin.is-selected")).to_have_count(1)


def test_feed_link_opens_an_incident_not_in_the_list(server: Server, open_page: Open) -> None:
    server.world.old[7] = incident(7, "knife", "Long ago", *SEOUL, age_s=40 * 86400, status="closed")
    page = open_page(server, "/?incident=7")
    expect(page.locator("#detail-title")).to_have_text("Long ago")
    expect(page).to_have_url(f"{server.url}/?incident=7")
    expect(page.locator("#announce")).to_be_empty()


def test_filters_are_in_the_address_and_a_link_brings_them_back(server: Server, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_role("button", name="Knife", exact=True).click()
    page.get_by_role("button", name="7 days").click()
    page.get_by_label("Status").select_option("closed")
    expect(page).to_have_url(re.compile(r"\?hazard=accident,fire,gun&span=week&status=closed$"))
    shared = open_page(server, page.url.removeprefix(server.url))
    expect(shared.get_by_role("button", name="Knife", exact=True)).to_have_attribute("aria-pressed", "false")
    expect(shared.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    expect(shared.get_by_label("Status")).to_have_value("closed")
    assert shared.locator(".card").count() == page.locator(".card").count() > 0


def test_range_of_time_shows_what_was_seen_in_it(server: Server, open_page: Open) -> None:
    for number, hours in ((60, 30), (61, 50), (62, 70)):
        feature = incident(number, "gun", f"{hours} hours ago", *SEOUL, age_s=hours * 3600, status="closed")
        server.world.push_incident(feature)
        server.world.push_post(post(feature))
    page = open_page(server, timezone_id="Asia/Seoul")
    page.get_by_role("button", name="Range").click()
    local = "(hours) => new Date(Date.now() - hours * 3600e3 + 9 * 3600e3).toISOString().slice(0, 16)"
    page.get_by_label("From", exact=True).fill(page.evaluate(local, 60))
    page.get_by_label("To", exact=True).fill(page.evaluate(local, 40))
    page.get_by_label("To", exact=True).blur()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card")).to_contain_text("50 hours ago")
    page.get_by_label("To", exact=True).fill(page.evaluate(local, 65))
    page.get_by_label("To", exact=True).blur()
    expect(page.locator("#range-wrong")).to_have_text("The range must begin before it ends.")


def test_area_filter_follows_map_and_address(server: Server, open_page: Open) -> None:
    far = incident(63, "gun", "Haeundae beach", 129.16, 35.16)
    server.world.push_incident(far)
    server.world.push_post(post(far))
    page = open_page(server, "/?bbox=126.8,37.4,127.2,37.7")
    expect(page.locator(".card")).to_have_count(5)
    expect(page.get_by_role("button", name="In this map view")).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile("bbox=126"))
    page.get_by_role("button", name="In this map view").click()
    expect(page.locator(".card")).to_have_count(7)
    assert "bbox" not in page.url


def test_false_alarms_are_muted_and_can_be_asked_for(server: Server, open_page: Open) -> None:
    decided = {"verdict": "false_alarm", "by": "kim", "at": "2026-11-22T03:00:00Z", "note": ""}
    server.world.review(3, decided)
    page = open_page(server)
    card = page.locator(".card", has_text="Office lobby, 2nd floor")
    expect(card).to_have_class(re.compile("is-false"))
    expect(card).to_contain_text("False alarm")
    expect(page.locator(".pin.is-false")).to_have_count(1)
    page.get_by_label("Status").select_option("false_alarm")
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_label("Status").select_option("open")
    expect(page.locator(".card")).to_have_count(1)
    expect(card).to_have_count(0)


def test_older_incidents_are_fetched_page_by_page(server: Server, open_page: Open) -> None:
    server.world.list_length = 4
    for number in range(500, 730):
        server.world.push_incident(
            incident(number, "fire", f"Old {number}", *SEOUL, age_s=100_000 + 60 * number, status="closed")
        )
    page = open_page(server, "/feed")
    page.get_by_role("button", name="7 days").click()
    older = page.get_by_role("button", name="Older alerts")
    expect(older).to_be_visible()
    expect(page.locator(".card", has_text="Old 500")).to_have_count(1)
    before = page.locator(".card").count()
    older.click()
    expect(page.locator(".card", has_text="Old 640")).to_have_count(1)
    assert page.locator(".card").count() > before
    older.click()
    expect(older).to_be_hidden()


def test_back_button_leads_back_through_incidents_and_views(server: Server, open_page: Open) -> None:
    page = open_page(server)
    page.get_by_role("link", name="Harbour warehouse 3").click()
    expect(page).to_have_url(f"{server.url}/?incident=6")
    page.get_by_role("link", name="Feed", exact=True).click()
    expect(page).to_have_url(f"{server.url}/feed?incident=6")
    page.go_back()
    expect(page.locator("body")).to_have_attribute("data-view", "map")
    expect(page.locator("#detail-title")).to_have_text("Harbour warehouse 3")
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()


def test_address_with_nonsense_in_it_shows_the_usual(server: Server, open_page: Open) -> None:
    page = open_page(server, "/?hazard=%3Cscript%3E&span=aeon&bbox=1,2,x&since=never&status=maybe")
    expect(page.locator(".card")).to_have_count(6)
    assert page.complaints == []
