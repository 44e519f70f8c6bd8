"""What goes wrong in a fleet; every error of this room is one line for its operator."""

from __future__ import annotations


class FleetError(RuntimeError):
    """Something an operator can mend; the message holds the value and the fix."""


class NodeLostError(FleetError):
    """A node cannot be reached, or went away in the middle; the same command takes up where it stopped."""


class NodeRefusedError(FleetError):
    """A node was reached and refused: its disk, its architecture or its checks speak against it."""
