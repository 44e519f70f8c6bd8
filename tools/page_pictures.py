"""Takes the screenshots of the page in docs/ from a running pipeline; needs playwright and Debian's Chromium.

    make run PORT=8080                                        # for two minutes, until there are incidents
    python -m tools.page_pictures http://127.0.0.1:8080 docs [OPERATOR_KEY]

Check each before you commit it: it must not show a face.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
MOST_BYTES = 400 * 1024
_SETTLE_MS = 4_000


@dataclass(frozen=True, slots=True)
class Shot:
    """One screenshot: its page, size and display settings."""

    name: str
    path: str = "/"
    width: int = 1280
    height: int = 860
    first_incident: bool = False
    context: dict[str, Any] = field(default_factory=dict)


_KOREAN_DARK = {"color_scheme": "dark", "locale": "ko-KR"}
SHOTS = (
    Shot("page-light", first_incident=True),
    Shot("page-dark", context=_KOREAN_DARK),
    Shot("page-feed", "/feed"),
    Shot("page-phone", width=390, height=844),
    Shot("page-phone-incident", width=390, height=844, first_incident=True, context=_KOREAN_DARK),
)


def take(browser: Any, base: str, shot: Shot, key: str | None) -> bytes:
    """The screenshot as PNG; with a key, as its holder sees the page."""
    viewport = {"width": shot.width, "height": shot.height}
    given = {"locale": "en-US", "timezone_id": "Asia/Seoul", "reduced_motion": "reduce"} | shot.context
    context = browser.new_context(viewport=viewport, **given)
    page: Page = context.new_page()
    if key is not None:
        context.request.post(f"{base}/api/session", data={"key": key})
    page.goto(base + shot.path)
    page.locator(".card-link").first.wait_for()
    if shot.first_incident:
        page.locator(".card-link").first.click()
    page.wait_for_timeout(_SETTLE_MS)
    png: bytes = page.screenshot()
    context.close()
    return png


def fit(png: bytes) -> bytes:
    """The picture, with fewer colours if the file would be too large."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    for step in (1, 4, 8, 12, 16):
        fewer = np.minimum(255, (image.astype(np.int32) + step // 2) // step * step).astype(np.uint8)
        written, encoded = cv2.imencode(".png", fewer, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        if written and len(encoded) <= MOST_BYTES:
            return encoded.tobytes()
    raise ValueError(f"cannot be made smaller than {MOST_BYTES} bytes: take a smaller part of the page")


def main(base: str, folder: str, key: str | None = None) -> None:
    """Take all of them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for shot in SHOTS:
            picture = fit(take(browser, base.rstrip("/"), shot, key))
            (Path(folder) / f"{shot.name}.png").write_bytes(picture)
            print(f"{shot.name}.png: {len(picture) / 1024:.0f} KiB")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python -m tools.page_pictures URL FOLDER [OPERATOR_KEY]")
    main(*sys.argv[1:])
