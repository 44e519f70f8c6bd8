"""`bongsu sessions`: an operator's commands for a receive server; functions/cli.py finds it by name."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec

import click

_P = ParamSpec("_P")
_COLUMNS = ("id", "kind", "client", "state", "where", "node", "age", "messages", "p50 ms", "p99 ms")


class _RefusedError(Exception):
    """The server refuses, or does not answer; the message is one line."""


def _in_one_line(call: Callable[_P, int]) -> Callable[_P, int]:
    @functools.wraps(call)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return call(*args, **kwargs)
        except (_RefusedError, OSError) as error:
            print(f"bongsu sessions: {error}", file=sys.stderr)
            return 1

    return called


@click.group()
@click.option(
    "--url",
    envvar="BONGSU_SESSIONS_URL",
    default="http://127.0.0.1:8090",
    show_default=True,
    help="The receive server.",
)
@click.pass_context
def sessions(context: click.Context, url: str) -> None:
    """List, show and end sessions.

    BONGSU_SESSIONS_KEY is a key of role operator; on the machine itself, the owner of the server's state needs none.
    See docs/sessions.md.
    """
    context.obj = url.rstrip("/")


@sessions.command("list")
@click.pass_obj
@_in_one_line
def _list(url: str) -> int:
    """List sessions, oldest first, and the free capacity."""
    found = _call("GET", f"{url}/sessions")
    print(_table([_COLUMNS, *(_row(session) for session in found["sessions"])]))
    capacity = found["capacity"]
    idle = ", ".join(f"{worker['kind']} ({worker['state']})" for worker in found["idle"]) or "none"
    print(
        f"{len(found['sessions'])} sessions; idle workers: {idle}; "
        f"{capacity['used_cores']:.2f} of {capacity['cores']:.2f} cores, "
        f"{capacity['used_memory_mb']:.0f} of {capacity['memory_mb']:.0f} MB"
        f"{'; drained' if capacity.get('is_drained') else ''}",
        file=sys.stderr,
    )
    return 0


@sessions.command("show")
@click.argument("session_id")
@click.pass_obj
@_in_one_line
def _show(url: str, session_id: str) -> int:
    """Show everything known about one session, a line for each fact."""
    found = _call("GET", f"{url}/sessions")["sessions"]
    session = next((one for one in found if one["id"] == session_id), None)
    if session is None:
        raise _RefusedError(f"no session {session_id!r}: bongsu sessions list shows them")
    print("\n".join(f"{name:<13} {value}" for name, value in session.items()))
    return 0


@sessions.command("end")
@click.argument("session_ids", nargs=-1, required=True, metavar="ID…")
@click.pass_obj
@_in_one_line
def _end(url: str, session_ids: Sequence[str]) -> int:
    """End sessions; their clients are notified."""
    for session_id in session_ids:
        _call("DELETE", f"{url}/sessions/{session_id}", session_id)
        print(f"ended {session_id}")
    return 0


@sessions.command("drain")
@click.option("--undo", is_flag=True, help="Serve sessions here again.")
@click.pass_obj
@_in_one_line
def _drain(url: str, *, undo: bool) -> int:
    """Have the sessions of a machine go on at its upstream servers, and start none there.

    Use it before the machine is stopped. Restarting its agent undoes it.
    """
    found = _call("POST", f"{url}/drain", json={"is_drained": not undo})
    print(f"{found['node']} {'is drained' if found['is_drained'] else 'serves sessions again'}")
    return 0


def _call(method: str, url: str, session_id: str = "", **body: Any) -> Any:
    # Imported here, so that `bongsu --help` does not wait for it.
    import httpx

    headers = {}
    if key := os.environ.get("BONGSU_SESSIONS_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif session_id and (token := _token_of(session_id)):
        headers["Session-Token"] = token
    try:
        response = httpx.request(method, url, headers=headers, timeout=10, **body)
    except httpx.HTTPError as error:
        raise _RefusedError(f"{url} does not answer ({error}): is it running? --url names another") from None
    try:
        body = response.json() if response.content else {}
    except ValueError:
        raise _RefusedError(f"{url} is not a receive server: it answers {response.status_code} without JSON") from None
    if response.is_error:
        raise _RefusedError(f"{body.get('detail', response.status_code)}: {body.get('remedy', 'see its log')}")
    return body


def _token_of(session_id: str) -> str:
    """The session's token if this user may read the receive server's secret, else empty."""
    from sessions.tokens import Tokens

    secret = Path(os.environ.get("BONGSU_SESSIONS_STATE", "state/sessions")) / "secret"
    try:
        return Tokens(secret.read_bytes()).token_of(session_id)
    except OSError:
        return ""


def _row(session: dict[str, Any]) -> tuple[str, ...]:
    age = datetime.now(UTC) - datetime.fromisoformat(session["created_at"])
    numbers = (session.get(name) for name in ("answered", "p50_ms", "p99_ms"))
    return (
        session["id"],
        session["kind"],
        session["client"],
        session["state"] if session["state"] != "waiting" else f"waiting ({session['place']})",
        session["where"],
        session.get("node", "-"),
        f"{age.total_seconds():.0f} s",
        *("-" if number is None else f"{number:g}" for number in numbers),
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{v:<{w}}" for v, w in zip(row, widths, strict=True)).rstrip() for row in rows)
