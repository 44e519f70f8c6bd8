"""Shared by the commands of this room: errors in one line, settings, tables and sizes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec

import click
import msgspec

from edge.errors import FleetError
from edge.nodes import Node, select

_P = ParamSpec("_P")


def fleet_command(call: Callable[_P, Coroutine[Any, Any, int]]) -> Callable[_P, None]:
    """Run an async command and exit with its status; errors that an operator can fix become one line on stderr."""

    @functools.wraps(call)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            status = asyncio.run(call(*args, **kwargs))
        except FleetError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from error
        if status:
            raise click.exceptions.Exit(status)

    return called


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their header, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: object) -> None:
    """Print a value for programs; times are RFC 3339, keys as in the files."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def describe_bytes(count: int) -> str:
    """A number of bytes for people: `12.6 MB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def choose(nodes: dict[str, Node], selector: str) -> list[Node]:
    """The nodes of a selector that are not drained.

    Raises:
        FleetError: it matches none, or only drained ones.
    """
    chosen = select(nodes.values(), selector)
    awake = [node for node in chosen if node.takes_work]
    if not awake:
        hint = f"bongsu nodes drain {chosen[0].name} --undo"
        raise FleetError(f"every node of {selector!r} is drained or revoked: {hint}")
    return awake
