"""The view of sessions in a real browser, with real servers and workers: the list, and a try with the clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.cluster import Cluster, running_cluster

from .conftest import Open
from .fixture_server import Server
from .test_page_real import Site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
CLIP = Path(__file__).parents[3] / "local/demo/media/accident.mp4"


class Sessions:
    """The API with its page, and a cluster whose receive server lets that page in."""

    def __init__(self, site: Site, cluster: Cluster) -> None:
        self.site, self.cluster = site, cluster

    @property
    def url(self) -> str:
        return self.site.url


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    yield from serve(tmp_path_factory.mktemp("sessions"), sessions_ask="open", sessions_warm="object=1")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Sessions]:
    yield from serve(tmp_path, sessions_ask="key", sessions_warm="scalar=1")


def serve(folder: Path, **settings: str) -> Iterator[Sessions]:
    site = Site(folder)
    with running_cluster(cors_origins=site.url, api_keys=str(folder / "keys"), **settings) as cluster:
        cluster.serve()
        address = f"http://127.0.0.1:{cluster.ports[0]}"
        site.start(BONGSU_SESSIONS_URL=address, BONGSU_SESSIONS_CLIP=str(CLIP))
        yield Sessions(site, cluster)
        site.stop()


def test_clip_goes_through_a_worker_and_its_boxes_are_drawn(sessions: Sessions, open_page: Open) -> None:
    page = open_page(sessions, "/sessions")
    expect(page.locator(".sessions-list")).to_contain_text("Nobody has a session now.", timeout=60_000)
    page.get_by_role("button", name="Play the clip").click()
    expect(page.locator(".trial-said")).to_contain_text("Running at the edge", timeout=60_000)
    expect(page.locator(".trial-speed")).to_contain_text("pictures a second")
    row = page.locator(".sessions-list tbody tr")
    expect(row).to_contain_text("object, hazard")
    expect(row).to_contain_text("(p50)")
    # The clip's accident begins within its first ten seconds.
    found = 0
    for _ in range(60):
        found = max(found, count_box_pixels(page))
        if found > 100:
            break
        page.wait_for_timeout(500)
    assert found > 100
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".sessions-list")).to_contain_text("Nobody has a session now.", timeout=60_000)
    # Chromium's advice about getImageData is for this test, which counts the drawn pixels.
    assert [text for text in page.complaints if not text.startswith("Canvas2D: Multiple readback")] == []


def test_leaving_the_view_ends_the_session(sessions: Sessions, open_page: Open) -> None:
    page = open_page(sessions, "/sessions", locale="ko-KR")
    page.get_by_role("button", name="영상 재생").click()
    expect(page.locator(".trial-speed")).to_contain_text("초당", timeout=60_000)
    page.locator("[data-view-link=map]").last.click()
    page.locator("#sessions-link").click()
    expect(page.locator(".sessions-list")).to_contain_text("지금은 세션이 없습니다.", timeout=60_000)
    assert page.complaints == []


def test_list_takes_an_operators_key(guarded: Sessions, open_page: Open) -> None:
    page = open_page(guarded, "/sessions")
    expect(page.locator(".sessions-problem")).to_have_text("The list is read with an operator's key.", timeout=60_000)
    enter(page, guarded.site.keys["viewer"])
    expect(page.locator(".sessions-problem")).to_contain_text("the list is for operators")
    enter(page, guarded.site.keys["operator"])
    expect(page.locator(".sessions-list")).to_contain_text("Nobody has a session now.")
    expect(page.locator(".sessions-key")).to_be_hidden()


def test_phone_shows_sessions_as_cards(sessions: Sessions, open_page: Open) -> None:
    page = open_page(sessions, "/sessions", width=390)
    expect(page.locator(".sessions-list")).to_be_visible(timeout=60_000)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".sessions-list").bounding_box()["height"] > 40


def test_site_without_sessions_has_no_such_view(server: Server, open_page: Open) -> None:
    page = open_page(server)
    expect(page.locator("#sessions-link")).to_be_hidden()
    expect(page.locator("#sessions")).to_be_hidden()


def enter(page: Any, key: str) -> None:
    page.get_by_label("Operator's key").fill(key)
    page.get_by_role("button", name="Show", exact=True).click()


def count_box_pixels(page: Any) -> int:
    """Pixels of the screen of the try that have exactly the colour of accidents, as only a drawn box has."""
    return int(
        page.evaluate(
            """async () => {
              const { hazards } = await (await fetch("/hazards.json")).json();
              const wanted = parseInt(hazards.find(({ name }) => name === "accident").look.solid.slice(1), 16);
              const screen = document.querySelector(".trial-screen");
              const { data } = screen.getContext("2d").getImageData(0, 0, screen.width, screen.height);
              let found = 0;
              for (let at = 0; at < data.length; at += 4) {
                if (((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]) === wanted) found += 1;
              }
              return found;
            }"""
        )
    )
