"""Decides which node reads which camera when several nodes know each other: pure rules, applied by each worker."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from motion.config import ANY, Camera


class NeighboursUnavailable(Exception):
    """The other nodes are unknown, because they could not be looked up; the message is one line."""


@dataclass(frozen=True, slots=True)
class Node:
    """An edge node whose worker is alive."""

    name: str
    region: str = ""
    """The region that the node reports; it serves the regions of its own cameras too."""
    is_settled: bool = True
    """Whether it has been alive long enough to get its cameras back from other nodes."""
    reading: frozenset[str] | None = None
    """Ids of the cameras that it reports to read; None if it reports none, as in an older version."""


class Neighbours(Protocol):
    """How a worker finds the other nodes."""

    beat_s: float
    """Seconds from one look to the next."""

    async def look(self, reading: Collection[str] = ()) -> Sequence[Node]:
        """Report that this node is alive and which cameras it reads, and find the live nodes, including this one.

        Raises:
            NeighboursUnavailable: this node could not report, or the others could not be found.
        """


@dataclass(frozen=True, slots=True)
class Share:
    """One node's share of the cameras."""

    mine: tuple[Camera, ...]
    """Cameras for this node to read."""
    unread: tuple[Camera, ...]
    """Cameras that no live node may read: their node is down, and so is every other node of their region."""
    to_report: tuple[Camera, ...]
    """Those of `unread` that this node must report."""


def share(cameras: Sequence[Camera], me: str, live: Sequence[Node], reading: Container[str]) -> Share:
    """Divide the cameras among the live nodes; every node with the same view computes the same result.

    A camera belongs to its own node while that is alive, else to a node of its region, chosen by rendezvous hashing, so
    that the loss of a node moves only that node's cameras. A camera with `node: any` has no node of its own and, if no
    node of its region is alive, may be read by any other.

    Args:
        cameras: all of the site.
        me: this node, which is one of `live`.
        live: all live nodes.
        reading: ids of the cameras that are read here now. Each is kept until the node it goes to has settled. Both
            nodes read it meanwhile, so that a node that comes and goes leaves no gap.
    """
    nodes = {node.name: node for node in live}
    regions = _regions(cameras, live)
    owners = {camera.id: _owner(camera, nodes, regions) for camera in cameras}
    mine = tuple(c for c in cameras if _is_read(c, owners[c.id], nodes[me], nodes, reading))
    unread = tuple(c for c in cameras if owners[c.id] is None)
    # It does not report cameras as lost that may be about to start, either.
    to_report = tuple(c for c in unread if nodes[me].is_settled and _nearest(c, nodes) == me)
    return Share(mine, unread, to_report)


def _is_read(camera: Camera, owner: str | None, me: Node, nodes: Mapping[str, Node], reading: Container[str]) -> bool:
    if owner is None:
        return False
    if owner == me.name:
        # The first node of a site to start does not open the cameras of nodes that start a moment later.
        return me.is_settled or camera.node in (me.name, ANY) or camera.id in reading
    if camera.id not in reading:
        return False
    # Camera files reach nodes at different times: a camera is released when the other node reports that it reads it.
    taker = nodes[owner]
    return not taker.is_settled or (taker.reading is not None and camera.id not in taker.reading)


def _owner(camera: Camera, nodes: Mapping[str, Node], regions: Mapping[str, set[str]]) -> str | None:
    if camera.node in nodes:
        return camera.node
    near = [name for name in nodes if camera.place.region in regions[name]]
    if camera.node == ANY and not near:
        near = list(nodes)  # whether another region can reach the other cameras is unknown
    return _nearest(camera, [name for name in near if nodes[name].is_settled] or near)


def _regions(cameras: Iterable[Camera], live: Iterable[Node]) -> dict[str, set[str]]:
    regions = {node.name: {node.region} if node.region else set() for node in live}
    for camera in cameras:
        if camera.node in regions:
            regions[camera.node].add(camera.place.region)
    # A node without a region goes with the cameras without a region.
    return {name: found or {""} for name, found in regions.items()}


def _nearest(camera: Camera, names: Iterable[str]) -> str | None:
    return max(names, key=lambda name: hashlib.sha256(f"{name}/{camera.id}".encode()).digest(), default=None)
