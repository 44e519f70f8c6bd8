"""A module reads in one sitting, and no room is most of the house."""

from __future__ import annotations

from pathlib import Path

from tests.rooms import ROOMS, ROOT


def _lines(room: str) -> dict[Path, int]:
    paths = (path for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)
    return {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in paths}


def test_module_has_at_most_300_lines() -> None:
    long = {str(path): lines for room in ROOMS for path, lines in _lines(room).items() if lines > 300}
    assert not long, f"split them: {long}"


def test_notify_is_under_a_fifth_of_the_code() -> None:
    sizes = {room: sum(_lines(room).values()) for room in ROOMS}
    assert sizes["notify"] < 0.2 * sum(sizes.values()), sizes
