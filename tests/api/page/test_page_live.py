"""The live page in a real browser: what comes appears once, whatever happened to the line in between."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Open
from .fixture_server import Server, World, incident, post

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
SEOUL = (126.98, 37.56)


def test_page_resumes_exactly_after_a_server_restart(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".card")).to_have_count(6)
    world, port = server.world, server.port
    server.stop()
    expect(page.locator("#link")).to_have_text("Connection lost, retrying")
    feature = incident(80, "gun", "While you were away", 126.9, 37.48)
    world.push_incident(feature)
    world.push_post(post(feature))
    again = Server(world, port).start()
    try:
        expect(page.locator("#link")).to_have_attribute("data-state", "live")
        expect(page.locator(".card")).to_have_count(7)
        expect(page.locator("#announce")).to_have_text("New alert: Gun, While you were away")
        feature = incident(81, "knife", "After the restart", 126.85, 37.52)
        world.push_incident(feature)
        expect(page.get_by_role("button", name="After the restart")).to_be_visible()
        expect(page.locator(".card")).to_have_count(7)
    finally:
        again.stop()


def test_page_forgets_what_a_new_database_does_not_know(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".card")).to_have_count(6)
    port = server.port
    server.stop()
    world = World()
    world.push_incident(incident(1, "gun", "A fresh start", *SEOUL))
    again = Server(world, port).start()
    try:
        expect(page.locator(".pin")).to_have_count(1)
        expect(page.locator(".card")).to_have_count(0)
    finally:
        again.stop()


def test_new_incident_is_pinned_and_announced_live(server: Server, open_page: Open) -> None:
    page = open_page(server)
    server.world.push_incident(incident(50, "knife", "City Hall plaza", 126.978, 37.50))
    expect(page.get_by_role("button", name="Knife, City Hall plaza")).to_be_visible()
    expect(page.locator("#announce")).to_have_text("New alert: Knife, City Hall plaza")


def test_new_post_becomes_the_first_card_of_the_feed(server: Server, open_page: Open) -> None:
    page = open_page(server, "/feed")
    feature = incident(51, "fire", "City Hall plaza", *SEOUL, age_s=-42)
    server.world.push_incident(feature)
    server.world.push_post(post(feature))
    expect(page.locator(".card .card-place").first).to_have_text("City Hall plaza")
    expect(page.locator(".card")).to_have_count(7)


def test_second_sighting_updates_its_pin_instead_of_adding_one(server: Server, open_page: Open) -> None:
    page = open_page(server, "/#incident=1")
    expect(page.locator(".facts")).to_contain_text("27")
    server.world.push_incident(
        incident(1, "fire", "Gwangjang Market, east gate", 126.9997, 37.5701, sightings=99, caption=None)
    )
    expect(page.locator(".facts")).to_contain_text("99")
    expect(page.locator(".pin")).to_have_count(6)


def test_stale_answer_does_not_undo_the_live_stream(server: Server, open_page: Open) -> None:
    page = open_page(server)
    held: list[tuple[Any, Any]] = []
    # The answer is made now, and comes later.
    page.route("**/api/incidents/1", lambda route: held.append((route, route.fetch())))
    page.locator(".card", has_text="Gwangjang Market").first.click()
    expect(page.locator(".facts")).to_contain_text("27")
    while not held:
        page.wait_for_timeout(10)
    server.world.push_incident(incident(1, "fire", "Gwangjang Market, east gate", 126.9997, 37.5701, sightings=99))
    expect(page.locator(".facts")).to_contain_text("99")
    (route, answer), *_ = held
    feature = answer.json()
    feature["properties"]["stages"] = feature["properties"]["stages"][:2]
    route.fulfill(json=feature)
    # What only the answer tells is taken from it.
    expect(page.locator(".stage")).to_have_count(2)
    # At once: this stand-in sends no beat, so that the page would soon take the line for dead and ask for everything.
    assert "99" in page.locator(".facts").inner_text()


def test_page_that_was_offline_gets_each_incident_once(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".card")).to_have_count(6)
    page.context.set_offline(True)
    expect(page.locator("#link")).to_have_attribute("data-state", "lost")
    for number in (83, 84):
        feature = incident(number, "gun", f"Missed {number}", 126.9, 37.48 - number / 1e3)
        server.world.push_incident(feature)
        server.world.push_post(post(feature))
    page.context.set_offline(False)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    expect(page.locator(".card")).to_have_count(8)
    expect(page.locator("#announce")).to_have_text("2 new alerts: Gun 2")
    expect(page.get_by_role("button", name="Missed 83")).to_have_count(1)


def test_page_whose_tab_was_frozen_gets_each_incident_once(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator(".card")).to_have_count(6)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    for number in (85, 86, 87):
        feature = incident(number, "fire", f"Asleep {number}", 126.9, 37.48 - number / 1e3)
        server.world.push_incident(feature)
        server.world.push_post(post(feature))
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    expect(page.locator(".card")).to_have_count(9)
    expect(page.locator("#announce")).to_contain_text("Fire")
    expect(page.locator(".card", has_text="Asleep 86")).to_have_count(1)


def test_more_incidents_than_one_list_holds_are_all_caught_up_on(server: Server, open_page: Open) -> None:
    server.world.list_length = 3
    page = open_page(server, "/?span=all")
    port, world = server.port, server.world
    server.stop()
    expect(page.locator("#link")).to_have_attribute("data-state", "lost")
    for number in range(300, 312):
        feature = incident(number, "knife", f"Night {number}", 126.9, 37.48)
        world.push_incident(feature)
        world.push_post(post(feature))
    again = Server(world, port).start()
    try:
        expect(page.get_by_role("button", name="12 alerts here")).to_be_visible()
        expect(page.locator(".card", has_text="Night")).to_have_count(12)
    finally:
        again.stop()


def test_many_incidents_at_once_are_announced_as_one_sentence(server: Server, open_page: Open) -> None:
    page = open_page(server)
    for number in range(400, 405):
        server.world.push_incident(incident(number, "fire" if number % 2 else "gun", f"Street {number}", *SEOUL))
    expect(page.locator("#announce")).to_have_text("5 new alerts: Gun 3, Fire 2")
