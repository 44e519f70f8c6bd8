from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.errors import FleetError
from edge.facts import Facts
from edge.nodes import Node, NodeFile, Place, SshAddress, check_node_name, parse_label, select

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def node(name: str, **fields: object) -> Node:
    return Node(name=name, added_at=NOW, **fields)  # type: ignore[arg-type]


def test_nodes_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = NodeFile(tmp_path)
    kept = node("gate", ssh="pi@gate:22", place=Place(37.5, 127.0, "문", "서울"), labels={"a": "b"},
                facts=Facts("arm64", 4, 8, 9, 7))  # fmt: skip
    file.put(kept)
    assert file.read() == {"gate": kept}


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 10):
            NodeFile(tmp_path).put(node(f"n{number}"))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(NodeFile(tmp_path).read()) == 30


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nodes: [{name: a}]", "nodes.yaml: Object missing required field `added_at`"),
        ("nodes: [{name: a, added_at: 2026-11-27T00:00:00Z, colour: red}]", "unknown field `colour`"),
        ("nodes: [", "cannot be read"),
        ("7", "Expected `object`"),
    ],
)
def test_a_file_that_was_spoilt_by_hand_names_the_place(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "nodes.yaml").write_text(content)
    with pytest.raises(FleetError, match=reason):
        NodeFile(tmp_path).read()


def test_names_add_and_conditions_narrow() -> None:
    fleet = [
        node("a", place=Place(0, 0, "", "Seoul"), labels={"site": "x"}),
        node("b", place=Place(0, 0, "", "Busan"), labels={"site": "x"}),
        node("c", facts=Facts("arm64", 1, 1, 1, 1)),
    ]
    assert [n.name for n in select(fleet, "all")] == ["a", "b", "c"]
    assert [n.name for n in select(fleet, "c,a")] == ["c", "a"]
    assert [n.name for n in select(fleet, "site=x,region=Busan")] == ["b"]
    assert [n.name for n in select(fleet, "architecture=arm64")] == ["c"]
    with pytest.raises(FleetError, match="no node 'd': there are a, b, c"):
        select(fleet, "d")
    with pytest.raises(FleetError, match="no node matches 'site=y'"):
        select(fleet, "site=y")
    with pytest.raises(FleetError, match="no node matches ''"):
        select(fleet, "")


def test_addresses() -> None:
    assert SshAddress.parse("pi@gate") == SshAddress("pi", "gate", 22)
    assert SshAddress.parse("pi@[fe80::1]:2222") == SshAddress("pi", "fe80::1", 2222)
    for given in ("gate", "pi@", "pi@gate:0", "pi@gate:70000", "pi@-oProxyCommand=x y", "pi;id@gate", ""):
        with pytest.raises(FleetError, match="an SSH address is"):
            SshAddress.parse(given)


def test_places_labels_and_names() -> None:
    assert Place.parse("37.5, 127, Gate, Seoul") == Place(37.5, 127.0, "Gate", "Seoul")
    for given in ("37.5", "a,b", "91,0", "nan,0"):
        with pytest.raises(FleetError, match="a place is LAT,LON"):
            Place.parse(given)
    assert parse_label("site=") == ("site", "")
    for given in ("site", "=x", "a b=c", "a=\x1b[2J"):
        with pytest.raises(FleetError, match="a label is KEY=VALUE"):
            parse_label(given)
    for given in ("Gate", "-a", "", "a" * 64, "a/b"):
        with pytest.raises(FleetError, match="a node's name is"):
            check_node_name(given)
