"""A real browser for the tests of the page, one for all of them, and a fresh stand-in for the API for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .fixture_server import Server, city

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
PATIENCE_MS = 20_000
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    # A busy machine draws slowly; what never comes fails all the same.
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(city()).start()
    yield server
    server.stop()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens the page at a path; `page.complaints` holds what the browser's console complained about."""
    contexts = []

    def open_page(
        server: Any, path: str = "/", *, state: str = "live", width: int = 1280, init: str = "", **other: Any
    ) -> Any:
        settings = {"locale": "en-US", "viewport": {"width": width, "height": 800}, "reduced_motion": "reduce"}
        context = browser.new_context(**settings | other)
        context.set_default_timeout(PATIENCE_MS)
        if init:
            context.add_init_script(init)
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on(
            "console", lambda message: message.type in {"error", "warning"} and page.complaints.append(message.text)
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(server.url + path)
        page.locator(f"#link[data-state={state}]").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
