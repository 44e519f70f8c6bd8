"""Draws the icons of the installed page from the mark in its head; needs playwright and Debian's Chromium.

python -m tools.page_icons api/page/icons
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tools.page_pictures import CHROMIUM

_MARK = """
<path fill="{flame}"
  d="M16 2.5c.8 3.6 5 5.4 5 10 0 3-2.2 5-5 5s-5-2-5-5c0-2.1 1-3.5 2.2-4.6.2 1.3.8 2 1.6 2.4C14.3 7.6 15 4.6 16 2.5z"/>
<path fill="{tower}" d="M11 19.5h10l1.2 4.5H9.8z"/>
<path fill="{hill}" d="M2 29c3.8-1.5 5.4-4 8-4h12c2.6 0 4.2 2.5 8 4z"/>
"""
_COLOURS = {"flame": "#f0702e", "tower": "#f4f2ed", "hill": "#a1acb2"}
_GROUND = "#14181b"
# What a launcher cuts from a maskable icon lies outside the middle 80 %; a badge is one colour on nothing.
_ICONS = {
    "icon-192": (192, 0.72, 0.22, _COLOURS),
    "icon-512": (512, 0.72, 0.22, _COLOURS),
    "maskable-512": (512, 0.58, 0.0, _COLOURS),
    "apple-180": (180, 0.7, 0.0, _COLOURS),
    "badge-96": (96, 0.94, None, dict.fromkeys(_COLOURS, "#ffffff")),
}


def draw(page: Page, size: int, share: float, rounding: float | None, colours: dict[str, str]) -> bytes:
    """One icon as PNG.

    Args:
        page: to draw on.
        size: of its side in pixels.
        share: of the side that the mark takes.
        rounding: of the ground's corners, as a share of the side; None for no ground.
        colours: of the parts of the mark.
    """
    begin, side = (1 - share) / 2 * 32, share * 32
    ground = "" if rounding is None else f'<rect width="32" height="32" rx="{rounding * 32}" fill="{_GROUND}"/>'
    place = f'x="{begin}" y="{begin}" width="{side}" height="{side}"'
    mark = f'<svg {place} viewBox="0 0 32 32">{_MARK.format(**colours)}</svg>'
    svg = f'<svg width="{size}" height="{size}" viewBox="0 0 32 32">{ground}{mark}</svg>'
    page.set_viewport_size({"width": size, "height": size})
    page.set_content(f'<body style="margin:0">{svg}</body>')
    png: bytes = page.screenshot(omit_background=True)
    return png


def main(folder: str) -> None:
    """Draw all of them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, given in _ICONS.items():
            (Path(folder) / f"{name}.png").write_bytes(draw(page, *given))
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.page_icons FOLDER")
    main(sys.argv[1])
