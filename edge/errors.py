"""Errors of a fleet; each message is one line for the operator."""

from __future__ import annotations


class FleetError(RuntimeError):
    """A problem that an operator can fix; the message has the value and the fix."""


class NodeLostError(FleetError):
    """A node cannot be reached, or the connection broke; the same command continues where it stopped."""


class NodeRefusedError(FleetError):
    """A node refused the request: its disk is full, its architecture is wrong, or a check failed."""
