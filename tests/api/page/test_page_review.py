"""Signing in and reviewing in a real browser: who may decide, and that everyone sees it at once."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Open
from .fixture_server import Server, incident

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
SEOUL = (126.98, 37.56)


def sign_in(page: Any, key: str) -> None:
    page.locator("#account").click()
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_operator_marks_a_false_alarm_and_a_visitor_sees_it_live(server: Server, open_page: Open) -> None:
    visitor = open_page(server, "/?incident=2")
    operator = open_page(server, "/?incident=2")
    expect(visitor.get_by_role("button", name="False alarm")).to_have_count(0)
    sign_in(operator, "key-of-kim")
    operator.get_by_role("button", name="False alarm …").click()
    operator.get_by_label("Note (optional)").fill("A reflection in the window")
    operator.get_by_role("button", name="Mark as false alarm").click()
    for page in (operator, visitor):
        expect(page.locator(".verdict")).to_contain_text("False alarm by kim")
        expect(page.locator(".verdict")).to_contain_text("A reflection in the window")
        expect(page.locator(".card.is-false")).to_have_count(1)
    assert visitor.complaints == []
    operator.get_by_role("button", name="Take back").click()
    for page in (operator, visitor):
        expect(page.locator(".verdict")).to_have_count(0)
        expect(page.locator(".card.is-false")).to_have_count(0)
    assert operator.complaints == []


def test_acknowledged_incident_stays_open_and_is_marked(server: Server, open_page: Open) -> None:
    page = open_page(server, "/?incident=1")
    sign_in(page, "key-of-kim")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".verdict")).to_contain_text("Acknowledged by kim")
    expect(page.locator(".detail .tag.is-open")).to_have_text("Ongoing")
    expect(page.locator(".pin-check")).to_have_count(1)


def test_viewer_and_visitor_cannot_review(server: Server, open_page: Open) -> None:
    page = open_page(server, "/?incident=1")
    expect(page.get_by_role("button", name="Sign in to review")).to_be_visible()
    sign_in(page, "key-of-lee")
    expect(page.locator("#account")).to_have_attribute("aria-label", "lee, viewer")
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign in to review")).to_have_count(0)


def test_wrong_key_is_refused_and_signing_out_works(server: Server, open_page: Open) -> None:
    page = open_page(server, "/?incident=1")
    page.get_by_role("button", name="Sign in to review").click()
    page.get_by_label("Key", exact=True).fill("guess")
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").filter(has_text="not known")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    sign_in(page, "key-of-kim")
    expect(page.get_by_role("button", name="Acknowledge")).to_be_visible()
    page.locator("#account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)


def test_note_that_is_being_written_survives_the_next_sighting(server: Server, open_page: Open) -> None:
    page = open_page(server, "/?incident=1")
    sign_in(page, "key-of-kim")
    page.get_by_role("button", name="False alarm …").click()
    page.get_by_label("Note (optional)").fill("A welder at wo")
    server.world.push_incident(incident(1, "fire", "Gwangjang Market, east gate", 126.9997, 37.5701, sightings=77))
    expect(page.locator(".facts")).to_contain_text("77")
    expect(page.get_by_label("Note (optional)")).to_have_value("A welder at wo")
    expect(page.get_by_label("Note (optional)")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Note (optional)")).to_have_count(0)
    expect(page.locator("#detail")).to_be_visible()


def test_site_that_is_read_with_a_key_shows_nothing_before_it(server: Server, open_page: Open) -> None:
    server.world.read = "key"
    page = open_page(server, "/", state="locked")
    expect(page.get_by_role("dialog")).to_contain_text("This map is read with a key.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.locator(".card").count() == 0
    page.get_by_label("Key", exact=True).fill("key-of-lee")
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    expect(page.locator(".card")).to_have_count(6)


def test_site_without_operator_keys_offers_no_signing_in(server: Server, open_page: Open) -> None:
    server.world.keys = {}
    page = open_page(server, "/?incident=1")
    expect(page.locator("#detail-title")).to_be_visible()
    expect(page.locator("#account")).to_be_hidden()
    expect(page.locator(".review")).to_be_hidden()
