"""Draws the motion gate's curve as SVG: the share of checks passed on against recall; called by `bench/gate.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _SIDE_X, _SIDE_Y = 720, 440, 70, 40, 600, 330


@dataclass(frozen=True, slots=True)
class Point:
    """One way to find motion."""

    passed: float
    """Share of all scored checks, quiet and busy, that it reports."""
    recall: float
    """Share of busy checks that it reports."""


def draw(path: Path, gate: Mapping[float, Point], peers: Mapping[str, Point], title: str) -> None:
    """Write the picture: the gate's points joined in the order of their sensitivity, the peers' by themselves."""
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in (_place(gate[s]) for s in sorted(gate)))
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
        *_axes(),
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
        *(_mark(point, f"{sensitivity:g}", "#1f6feb") for sensitivity, point in sorted(gate.items())),
        *(_mark(point, name, "#b35900") for name, point in peers.items()),
        "</svg>",
    ]
    path.write_text("\n".join(drawn) + "\n", encoding="utf-8")


def _axes() -> list[str]:
    right, bottom = _LEFT + _SIDE_X, _TOP + _SIDE_Y
    found = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>']
    for step in range(6):
        x, y = _place(Point(step / 5, step / 5))
        found.append(f'<text x="{x:.0f}" y="{bottom + 18}" font-size="12" text-anchor="middle">{step * 20} %</text>')
        found.append(f'<text x="{_LEFT - 8}" y="{y + 4:.0f}" font-size="12" text-anchor="end">{step * 20} %</text>')
    middle = _LEFT + _SIDE_X / 2
    found.append(
        f'<text x="{middle:.0f}" y="{bottom + 40}" font-size="13" text-anchor="middle">checks passed on</text>'
    )
    turned = f'transform="translate(18 {_TOP + _SIDE_Y / 2:.0f}) rotate(-90)"'
    return [*found, f'<text {turned} font-size="13" text-anchor="middle">busy checks passed on</text>']


def _mark(point: Point, name: str, colour: str) -> str:
    x, y = _place(point)
    return (
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{colour}"/>'
        f'<text x="{x + 7:.0f}" y="{y + 14:.0f}" font-size="12" fill="{colour}">{escape(name)}</text>'
    )


def _place(point: Point) -> tuple[float, float]:
    return _LEFT + point.passed * _SIDE_X, _TOP + (1 - point.recall) * _SIDE_Y
