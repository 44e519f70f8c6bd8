"""The page for everyone, in a real browser: axe finds nothing, in light and dark; the keyboard reaches all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Open
from .fixture_server import Server, World

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe_package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
expect = sync_api.expect
AXE = Path(axe_package.__file__).with_name("axe.min.js")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS = {
    "map": ("/", 1280),
    "incident": ("/?incident=1", 1280),
    "feed": ("/feed?status=closed", 1280),
    "phone map": ("/", 390),
    "phone incident": ("/?incident=3", 390),
    "phone feed": ("/feed", 390),
    "phone relay": ("/#relay", 390),
}


def findings(page: Any) -> list[str]:
    """What axe objects to, one line each."""
    page.add_script_tag(path=AXE)
    run = "(tags) => axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] })"
    violations = page.evaluate(run, RULES)["violations"]
    return [f"{v['id']}: {node['target']} {node['failureSummary']}" for v in violations for node in v["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(server: Server, open_page: Open, view: str, scheme: str) -> None:
    path, width = VIEWS[view]
    decided = {"verdict": "false_alarm", "by": "kim", "at": "2026-11-22T03:00:00Z", "note": "A reflection"}
    server.world.review(3, decided)
    server.world.review(2, decided | {"verdict": "acknowledged"})
    # The policy of the page forbids foreign scripts, axe among them.
    page = open_page(server, path, width=width, color_scheme=scheme, bypass_csp=True)
    expect(page.locator(".pin").first).to_be_attached()
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_passes_dialogs_filters_and_empty_feed(server: Server, open_page: Open, scheme: str) -> None:
    page = open_page(server, "/?incident=1", color_scheme=scheme, bypass_csp=True)
    page.get_by_role("button", name="Sign in to review").click()
    assert findings(page) == []
    page.get_by_label("Key", exact=True).fill("key-of-kim")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="False alarm …").click()
    page.get_by_role("button", name="Range").click()
    page.get_by_text("Subscribe", exact=True).click()
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_passes_the_warnings_and_the_driving_view(server: Server, open_page: Open, scheme: str) -> None:
    server.world.push_key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    near = {"latitude": 37.5640, "longitude": 126.9960}
    page = open_page(
        server, "/drive", width=390, color_scheme=scheme, bypass_csp=True, permissions=["geolocation"], geolocation=near
    )
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".drive-card")).to_have_count(3)
    page.context.set_geolocation({"latitude": 37.5650, "longitude": 126.9970})
    expect(page.locator(".drive-card.is-ahead").first).to_contain_text("ahead")
    assert findings(page) == []
    page.get_by_role("button", name="Warn me").click()
    page.get_by_label("Quiet hours").check()
    page.get_by_role("button", name="My location").click()
    expect(page.locator(".watch-area")).to_be_attached()
    assert findings(page) == []
    server.world = World()
    empty = open_page(server, "/", color_scheme=scheme, bypass_csp=True)
    expect(empty.locator("#feed-empty")).to_contain_text("All quiet")
    assert findings(empty) == []


def test_skip_link_arrows_and_escape_work_without_a_mouse(server: Server, open_page: Open) -> None:
    page = open_page(server)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#feed")).to_be_focused()
    page.locator(".card-link").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".card-link").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#detail-title")).to_have_text("Mangwon-ro 7 crossing")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#detail-title")).to_have_text("Office lobby, 2nd floor")
    expect(page).to_have_url(f"{server.url}/?incident=3")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#detail-title")).to_have_text("Gwangjang Market, east gate")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator(".pin:focus")).to_have_count(1)


def test_dialog_keeps_the_focus_and_gives_it_back(server: Server, open_page: Open) -> None:
    page = open_page(server)
    page.locator("#account").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(page.locator("#account")).to_be_focused()


@pytest.mark.parametrize("path", ["/?incident=1", "/feed", "/#relay"])
def test_what_a_finger_must_hit_on_a_phone_is_44_pixels(server: Server, open_page: Open, path: str) -> None:
    page = open_page(server, path, width=390, has_touch=True)
    if "relay" not in path:
        page.get_by_role("button", name="More filters").click()
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, summary, nav a, .card-link, .pin")]
            .filter((node) => node.offsetParent !== null && node.getClientRects().length > 0)
            .map((node) => [node.className || node.id, node.matches(".card-link") ? node.closest(".card") : node])
            .map(([name, node]) => [name, node.getBoundingClientRect()])
            .filter(([, { width, height }]) => width < 43.5 || height < 43.5)
            .map(([name, { width, height }]) => `${name} ${width} x ${height}`)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
