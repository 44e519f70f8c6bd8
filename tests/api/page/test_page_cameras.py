"""An operator adds a camera in a real browser, on the real API and the processes behind it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from motion.config import load_cameras
from tests.stores import serving_in_thread
from web.keys import new_key

CLIP = Path(__file__).parents[3] / "local" / "demo" / "media" / "street.mp4"
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """An API with a file of cameras: its address, an operator's key and the file."""
    shutil.copy(CLIP, tmp_path / "street.mp4")
    file = tmp_path / "cameras.yaml"
    file.write_text("# ours\ncameras: []\n")
    text, key = new_key("kim", "operator")
    (tmp_path / "keys").write_text(f"{key.name} {key.role} {key.digest}\n")
    settings = Settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/bongsu.db",
        snapshot_url=str(tmp_path / "snapshots"),
        api_keys=str(tmp_path / "keys"),
        cameras_file=str(file),
    )
    with serving_in_thread(settings) as url:
        yield url, text, file


def open_signed_in(browser: Any, url: str, key: str, **settings: Any) -> Any:
    context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 900}} | settings)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda said: said.type in {"error", "warning"} and page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{url}/cameras")
    page.locator("#key").fill(key)
    page.locator("#key").press("Enter")
    page.locator("#form").wait_for()
    return page


def draw(page: Any, kind: str, corners: list[tuple[float, float]]) -> None:
    page.locator(f"#draw-{kind}").click()
    layer = page.locator("#picture svg")
    layer.scroll_into_view_if_needed()
    box = layer.bounding_box()
    for x, y in [*corners, corners[0]]:
        layer.click(position={"x": x * box["width"], "y": y * box["height"]})


def test_a_camera_is_added_in_the_browser(browser: Any, site: tuple[str, str, Path]) -> None:
    url, key, file = site
    page = open_signed_in(browser, url, key)
    page.locator("[name=camera]").fill("market-1")
    page.locator("[name=url]").fill("street.mp4")
    page.locator("#look").click()
    expect(page.locator("#facts")).to_have_text(re.compile("^h264, 640x360, 10 pictures a second"), timeout=90_000)
    draw(page, "mask", [(0.1, 0.1), (0.4, 0.1), (0.4, 0.3)])
    draw(page, "zone", [(0.5, 0.6), (0.9, 0.6), (0.9, 0.9), (0.5, 0.9)])
    page.get_by_label("Name in English").fill("the crossing")
    page.get_by_label("Name in Korean").fill("횡단보도")
    page.locator("#tune").click()
    expect(page.locator("#outcomes")).to_contain_text("checks:", timeout=90_000)
    page.locator("[name=place]").fill("Market")
    page.locator("#map").click(position={"x": 200, "y": 140})
    if folder := os.environ.get("BONGSU_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/cameras-light.png", full_page=True)
    page.locator("#save").click()
    expect(page.locator("#note")).to_contain_text("market-1 is saved in", timeout=90_000)
    assert file.read_text().startswith("# ours\n")
    (camera,) = load_cameras(file).cameras
    assert camera.masks[0][1] == pytest.approx((0.4, 0.1), abs=0.01)
    assert (camera.zones[0].name.en, camera.zones[0].name.ko, len(camera.zones[0].polygon)) == (
        "the crossing",
        "횡단보도",
        4,
    )
    assert 32 < camera.place.lat < 39.5 and 124 < camera.place.lon < 131
    assert page.complaints == []
