"""The documentation site has every page, and every decision is in the index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def pages(nav: Any) -> Iterator[str]:
    """All pages of a navigation, at any depth."""
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from pages(part)


def test_site_has_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages(nav)) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_index_of_decisions_has_each() -> None:
    index = (DOCS / "adr/index.md").read_text()
    records = sorted(path for path in (DOCS / "adr").glob("0*.md"))
    assert re.findall(r"\]\((0[^)]*)\)", index) == [path.name for path in records]
    for number, path in enumerate(records, start=1):
        text = path.read_text()
        assert text.startswith(f"# {number}. ") and path.name.startswith(f"{number:04d}-")
        assert re.findall(r"^## (.*)", text, re.M) == ["Context", "Decision", "Consequences"], path.name


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#\s]+?\.(?:md|png))(?:#[^)]*)?\)", page.read_text()):
            assert "://" in link or (page.parent / link).is_file(), f"{page.name}: {link}"
