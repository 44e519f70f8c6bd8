"""Who reads which camera, where several nodes know of each other: plain rules that the worker asks at each beat."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from motion.config import ANY, Camera


class NeighboursUnheard(Exception):
    """Nothing could be learnt of the other nodes; one line that says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """An edge node whose worker is alive."""

    name: str
    region: str = ""
    """Where the node says that it stands; it serves the regions of its own cameras too."""
    is_settled: bool = True
    """Whether it has been alive for long enough to be given back what others read for it."""
    reading: frozenset[str] | None = None
    """Ids of the cameras that it says it reads; None if it does not say, as one of an older version."""


class Neighbours(Protocol):
    """What a worker learns of the other nodes by."""

    beat_s: float
    """Seconds from one look to the next."""

    async def look(self, reading: Collection[str] = ()) -> Sequence[Node]:
        """Say that this node is alive and which cameras come in here, and find which are, this one included.

        Raises:
            NeighboursUnheard: it could not be said or found.
        """


@dataclass(frozen=True, slots=True)
class Share:
    """What falls to one node."""

    mine: tuple[Camera, ...]
    """To be read here."""
    unread: tuple[Camera, ...]
    """Nobody alive may read these: their node is away, and so is every other one of their region."""
    to_tell: tuple[Camera, ...]
    """Those of `unread` that it falls to this node to tell of."""


def share(cameras: Sequence[Camera], me: str, live: Sequence[Node], reading: Container[str]) -> Share:
    """Divide the cameras among the nodes that are alive; every node that sees the same comes to the same result.

    A camera belongs to its own node while that is alive, else to one of its region, chosen by rendezvous hashing, so
    that the loss of one node moves the cameras of no other. A camera with `node: any` has no node of its own and
    may, where nobody of its region is alive, be read by every other.

    Args:
        cameras: all of the site.
        me: this node, which is one of `live`.
        live: every node that is alive.
        reading: ids of the cameras that are read here now. One is kept until the node it goes to has settled: that
            node reads it too for that while, and one that comes and goes leaves no gap.
    """
    nodes = {node.name: node for node in live}
    regions = _regions(cameras, live)
    owners = {camera.id: _owner(camera, nodes, regions) for camera in cameras}
    mine = tuple(c for c in cameras if _is_read(c, owners[c.id], nodes[me], nodes, reading))
    unread = tuple(c for c in cameras if owners[c.id] is None)
    # Nor does it call lost what may be about to start.
    to_tell = tuple(c for c in unread if nodes[me].is_settled and _nearest(c, nodes) == me)
    return Share(mine, unread, to_tell)


def _is_read(camera: Camera, owner: str | None, me: Node, nodes: Mapping[str, Node], reading: Container[str]) -> bool:
    if owner is None:
        return False
    if owner == me.name:
        # The first node of a site to start does not open the cameras of those that start a moment later.
        return me.is_settled or camera.node in (me.name, ANY) or camera.id in reading
    if camera.id not in reading:
        return False
    # Files of cameras reach nodes at different times: it is let go when the other says that it has it.
    taker = nodes[owner]
    return not taker.is_settled or (taker.reading is not None and camera.id not in taker.reading)


def _owner(camera: Camera, nodes: Mapping[str, Node], regions: Mapping[str, set[str]]) -> str | None:
    if camera.node in nodes:
        return camera.node
    near = [name for name in nodes if camera.place.region in regions[name]]
    if camera.node == ANY and not near:
        near = list(nodes)  # of the others it is not even known that another region reaches them
    return _nearest(camera, [name for name in near if nodes[name].is_settled] or near)


def _regions(cameras: Iterable[Camera], live: Iterable[Node]) -> dict[str, set[str]]:
    regions = {node.name: {node.region} if node.region else set() for node in live}
    for camera in cameras:
        if camera.node in regions:
            regions[camera.node].add(camera.place.region)
    # A node of which nothing is known stands with the cameras of which nothing is known.
    return {name: found or {""} for name, found in regions.items()}


def _nearest(camera: Camera, names: Iterable[str]) -> str | None:
    return max(names, key=lambda name: hashlib.sha256(f"{name}/{camera.id}".encode()).digest(), default=None)
