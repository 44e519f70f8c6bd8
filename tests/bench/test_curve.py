from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench.curve import Point, draw


def test_the_curve_has_the_gate_and_its_peers(tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    gate = {0.8: Point(0.9, 1.0), 0.2: Point(0.4, 0.5)}
    draw(path, gate, {"MOG2 <&": Point(0.5, 0.5)}, "title")
    svg = ElementTree.parse(path).getroot()
    texts = [each.text for each in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"0.2", "0.8", "MOG2 <&"} <= set(texts)
    line = svg.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    assert line.get("points") == "310,205 610,40", "by sensitivity, recall upwards"
