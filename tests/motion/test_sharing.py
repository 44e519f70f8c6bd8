from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from motion.config import Camera
from motion.sharing import Node, share


def camera(id_: str, node: str = "any", region: str = "Seoul") -> Camera:
    place = {"lat": 37.5, "lon": 127.0, "name": "Gate", "region": region}
    return Camera.model_validate({"id": id_, "url": "rtsp://192.0.2.1/1", "node": node, "place": place})


def nodes(*names: str) -> list[Node]:
    return [Node(name) for name in names]


def mine(cameras: list[Camera], me: str, live: list[Node], reading: Iterable[str] = ()) -> set[str]:
    return {c.id for c in share(cameras, me, live, set(reading)).mine}


SEOUL = [camera(f"seoul-{i}", f"edge-{1 + i % 3}") for i in range(12)]
INCHEON = [camera("bridge-1", "edge-9", "Incheon")]


def test_a_node_that_is_alive_reads_its_own_cameras_and_no_other() -> None:
    for name in ("edge-1", "edge-2", "edge-3"):
        own = {c.id for c in SEOUL if c.node == name}
        assert mine(SEOUL, name, nodes("edge-1", "edge-2", "edge-3")) == own


def test_away_nodes_cameras_are_shared_in_its_region() -> None:
    live = nodes("edge-2", "edge-3", "edge-9")
    cameras = SEOUL + INCHEON
    taken = {name: mine(cameras, name, live) for name in ("edge-2", "edge-3", "edge-9")}
    assert taken["edge-9"] == {"bridge-1"}
    assert taken["edge-2"] | taken["edge-3"] == {c.id for c in SEOUL}
    assert not taken["edge-2"] & taken["edge-3"]


def test_region_wholly_away_is_reported_by_one_node() -> None:
    live = nodes("edge-1", "edge-2")
    shares = [share(SEOUL + INCHEON, name, live, ()) for name in ("edge-1", "edge-2")]
    assert all([c.id for c in found.unread] == ["bridge-1"] for found in shares)
    assert sum(len(found.to_report) for found in shares) == 1


def test_a_spare_node_serves_the_region_that_it_names() -> None:
    live = [Node("edge-1"), Node("spare", "Incheon")]
    assert mine(SEOUL + INCHEON, "spare", live) == {"bridge-1"}
    assert "bridge-1" not in mine(SEOUL + INCHEON, "edge-1", live)


def test_cameras_and_nodes_without_a_region_stand_together() -> None:
    cameras = [camera("a", "edge-1", region=""), camera("b", "edge-2", region="")]
    assert mine(cameras, "edge-2", nodes("edge-2")) == {"a", "b"}
    assert mine(cameras, "spare", nodes("spare")) == {"a", "b"}


def test_camera_for_any_has_one_reader_in_its_region() -> None:
    cameras = [camera("x"), *SEOUL, *INCHEON]
    live = nodes("edge-1", "edge-2", "edge-9")
    readers = [node.name for node in live if "x" in mine(cameras, node.name, live)]
    assert len(readers) == 1
    assert readers != ["edge-9"]
    assert "x" in mine(cameras, "edge-9", nodes("edge-9"))


def test_camera_is_kept_until_its_node_has_settled() -> None:
    back = [Node("edge-1", is_settled=False), Node("edge-2")]
    cameras = [camera("a", "edge-1"), camera("b", "edge-2")]
    assert mine(cameras, "edge-1", back) == {"a"}
    assert mine(cameras, "edge-2", back, reading=["a", "b"]) == {"a", "b"}
    assert mine(cameras, "edge-2", back, reading=["b"]) == {"b"}
    assert mine(cameras, "edge-2", nodes("edge-1", "edge-2"), reading=["a", "b"]) == {"b"}


def test_new_node_takes_over_only_cameras_for_any() -> None:
    new = Node("edge-1", is_settled=False)
    cameras = [camera("a", "edge-1"), camera("b", "edge-2"), camera("x")]
    assert mine(cameras, "edge-1", [new]) == {"a", "x"}
    assert mine(cameras, "edge-1", [new], reading=["b"]) == {"a", "b", "x"}
    # The node that has been there for longer comes first.
    for each in (f"c{i}" for i in range(8)):
        assert mine([camera(each, "gone"), camera("d", "edge-3")], "edge-3", [new, Node("edge-3")]) == {each, "d"}


names = st.sampled_from([f"edge-{i}" for i in range(8)])


@given(
    live=st.sets(names, min_size=1),
    homes=st.lists(st.one_of(names, st.just("any")), min_size=1, max_size=12),
    data=st.data(),
)
def test_each_camera_has_one_reader_or_is_reported_once(live: set[str], homes: list[str], data: st.DataObject) -> None:
    regions = data.draw(st.lists(st.sampled_from(["", "Seoul", "Incheon"]), min_size=len(homes), max_size=len(homes)))
    cameras = [camera(f"c{i}", home, region) for i, (home, region) in enumerate(zip(homes, regions, strict=True))]
    shares = [share(cameras, name, nodes(*sorted(live)), ()) for name in live]
    for each in cameras:
        readers = sum(each in found.mine for found in shares)
        reporters = sum(each in found.to_report for found in shares)
        assert readers + reporters == 1
        assert all((each in found.unread) == (readers == 0) for found in shares)


@given(live=st.sets(names, min_size=2), lost=names)
def test_the_loss_of_a_node_moves_only_what_it_read(live: set[str], lost: str) -> None:
    cameras = [camera(f"c{i}") for i in range(20)]
    before = {name: mine(cameras, name, nodes(*sorted(live))) for name in live}
    left = sorted(live - {lost}) or sorted(live)
    for name in left:
        assert mine(cameras, name, nodes(*left)) >= before[name]


def test_a_camera_is_let_go_when_its_taker_says_that_it_reads_it() -> None:
    # The file of cameras came here first: it gives the camera to edge-2, which does not know of it yet.
    cameras = [camera("gate-1", "edge-2")]
    unaware, aware = Node("edge-2", reading=frozenset()), Node("edge-2", reading=frozenset({"gate-1"}))
    assert mine(cameras, "edge-1", [Node("edge-1"), unaware], ["gate-1"]) == {"gate-1"}
    assert mine(cameras, "edge-1", [Node("edge-1"), aware], ["gate-1"]) == set()
    older = Node("edge-2")
    assert mine(cameras, "edge-1", [Node("edge-1"), older], ["gate-1"]) == set(), (
        "a node that does not report is trusted"
    )
