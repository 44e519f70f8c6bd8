"""The view of nodes in a real browser over the real API: how machines are, and a deployment as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.api.test_fleet import status, write

from .conftest import Open
from .test_page_real import Site, sign_in

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("fleet")
    site = Site(folder)
    site.status = folder / "status.json"  # type: ignore[attr-defined]
    write(site.status, status())  # type: ignore[attr-defined]
    site.start(BONGSU_FLEET_STATUS=str(site.status))  # type: ignore[attr-defined]
    yield site
    site.stop()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nodes_are_shown_worst_first_and_on_the_map(fleet: Any, open_page: Open, width: int, scheme: str) -> None:
    page = open_page(fleet, "/nodes", width=width, color_scheme=scheme)
    cards = page.locator(".node-card")
    expect(cards).to_have_count(2)
    expect(cards.first).to_contain_text("mill-2")
    expect(cards.first).to_contain_text("does not answer")
    expect(cards.last).to_contain_text("hazard 2")
    expect(page.locator(".nodes-models")).to_contain_text("Fires.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-view-link=map]").last.click()
    expect(page.locator(".node-dot.is-ok")).to_have_count(1)
    assert page.complaints == []


def test_deployment_goes_on_before_the_readers_eyes(fleet: Any, open_page: Open) -> None:
    page = open_page(fleet, "/nodes", locale="ko-KR")
    expect(page.locator("h2#nodes-title")).to_have_text("노드")
    running = msgspec.structs.replace(status().deployments[0], id="d9", state="running", ended_at=None)
    running.nodes[1].state, running.nodes[1].done_bytes, running.nodes[1].total_bytes = "pulling", 5_000_000, 10_000_000
    write(fleet.status, status(deployments=[running]))
    row = page.locator(".nodes-running [data-deployment=d9] li").last
    expect(row).to_contain_text("10.0 MB 중 5.0 MB")
    expect(row.locator("progress")).to_have_js_property("value", 0.5)
    done = msgspec.structs.replace(running, state="done")
    write(fleet.status, status(deployments=[done]))
    expect(page.locator(".nodes-past [data-deployment=d9]")).to_contain_text("완료")
    expect(page.locator(".nodes-running")).to_be_hidden()
    write(fleet.status, status())


def test_only_an_operator_reads_who_changed_what(fleet: Any, open_page: Open) -> None:
    page = open_page(fleet, "/nodes")
    expect(page.locator(".nodes-past")).to_contain_text("failed")
    expect(page.locator(".nodes-audit")).to_be_hidden()
    assert "10.0.0.7" not in page.content() and "kim" not in page.content()
    sign_in(page, fleet.keys["operator"])
    expect(page.locator(".nodes-audit")).to_contain_text("kim: model_deployed gate-1")
    expect(page.locator(".nodes-past")).to_contain_text("pi@10.0.0.7:22 cannot be reached")
