"""What the stream says of the fleet: nodes and models as they change, and each step of a deployment."""

from __future__ import annotations

from typing import Any

import msgspec

from api import fleet_views
from api.stream.notices import Name, Notice
from web.fleet import FleetStatus


class FleetNotices:
    """Compares the fleet with what it was when it was asked last.

    Numbers that change with every sample of a node are left out: the page's view of nodes asks for `/api/nodes`.
    """

    def __init__(self) -> None:
        self._last: FleetStatus | None = None
        self._sent: dict[tuple[str, str], Any] = {}

    def changes(self, status: FleetStatus) -> list[Notice]:
        """A notice for each thing that changed; none at the first call, as a reader has just read what there is."""
        if status is self._last:
            return []
        is_first, self._last = self._last is None, status
        nodes = {("node", node.name): fleet_views.without_measures(node) for node in status.nodes}
        deployments = {("deployment", d.id): msgspec.structs.asdict(d) for d in status.deployments}
        now: dict[tuple[str, str], Any] = {**nodes, **deployments, ("models", ""): status.models}
        gone = [name for kind, name in self._sent if kind == "node" and (kind, name) not in now]
        changed = {key for key, value in now.items() if self._sent.get(key) != value}
        self._sent = now
        if is_first:
            return []
        return [
            *(_notice("node", fleet_views.gone_node(name)) for name in gone),
            *(_notice("node", fleet_views.node_feature(n)) for n in status.nodes if ("node", n.name) in changed),
            *(
                _notice("deployment", fleet_views.deployment_view(d, is_operator=False))
                for d in reversed(status.deployments)
                if ("deployment", d.id) in changed
            ),
            *([_notice("models", fleet_views.models(status))] if ("models", "") in changed else []),
        ]


def _notice(name: Name, content: Any) -> Notice:
    return Notice(name, None, msgspec.json.encode(content))
