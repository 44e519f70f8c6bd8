"""Sessions on one machine: the agent with its workers and one receive server; `runner.py` starts them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from local.checks import DEMO, Options, RunError, require_port, shown_host
from local.process.output import Output
from local.process.service import Command, Service
from local.state import State

_HOST = "127.0.0.1"
"""Where nobody needs a key nobody else must get in: another address is for who sets BONGSU_SESSIONS_HOST."""
_PORT_ABOVE_MAP = 10
_SOCKET_PATH_MAX = 100
"""Linux allows 107 bytes, others 103."""
_CLIP = DEMO / "media/accident.mp4"
"""Both networks find something in it."""


async def sessions_environment(options: Options, state: State) -> dict[str, str]:
    """Variables of all children that concern sessions.

    Raises:
        RunError: their port is taken, or the state folder's path is too long for a socket.
    """
    if not options.has_sessions:
        # An address left in the environment would have the page look for a receive server that nobody started.
        return {"BONGSU_SESSIONS_URL": ""}
    folder = state.root / "sessions"
    if len(str(folder / "agent.sock").encode()) > _SOCKET_PATH_MAX:
        raise RunError(f"--state {state.root}: too long for a socket's path: choose a shorter one, or --no-sessions")
    host = os.environ.get("BONGSU_SESSIONS_HOST", _HOST)
    port = _port(options)
    await require_port(host, port, "BONGSU_SESSIONS_PORT", "set it to another, or run with --no-sessions")
    return {
        "BONGSU_SESSIONS_STATE": str(folder),
        "BONGSU_SESSIONS_HOST": host,
        "BONGSU_SESSIONS_PORT": str(port),
        "BONGSU_SESSIONS_URL": os.environ.get("BONGSU_SESSIONS_URL") or f"http://{shown_host(host)}:{port}",
        "BONGSU_SESSIONS_ASK": os.environ.get("BONGSU_SESSIONS_ASK") or _who_may_ask(host),
        "BONGSU_SESSIONS_WARM": os.environ.get("BONGSU_SESSIONS_WARM", "object=1"),
        "BONGSU_SESSIONS_CLIP": os.environ.get("BONGSU_SESSIONS_CLIP") or (str(_CLIP) if _CLIP.is_file() else ""),
    }


def sessions_services(options: Options, output: Output) -> list[Service]:
    """The agent and the receive server, in the order in which they start; empty where there are none."""
    if not options.has_sessions:
        return []
    # With upstream servers, its sessions move there before it ends: 30 s, and the time to end their workers.
    has_upstream = bool(os.environ.get("BONGSU_SESSIONS_UPSTREAM"))
    agent = Command("agent", "sessions.agent", grace_s=40.0 if has_upstream else 5.0)
    server = Command("sessions", "sessions.server", env=_origins(options), grace_s=5.0)
    return [Service(agent, output), Service(server, output)]


def _port(options: Options) -> int:
    given = os.environ.get("BONGSU_SESSIONS_PORT", "")
    if not given:
        return options.port + _PORT_ABOVE_MAP
    if not given.isdecimal():
        raise RunError(f"BONGSU_SESSIONS_PORT {given!r}: must be a port, such as 8090")
    return int(given)


def _who_may_ask(host: str) -> str:
    """Who has a key, where there are keys or others could ask; the server says what it lacks."""
    return "key" if os.environ.get("BONGSU_API_KEYS") or host not in ("127.0.0.1", "::1", "localhost") else "open"


def _origins(options: Options) -> Mapping[str, str]:
    """The page's own addresses: no other site's page may ask for a session from a reader's browser."""
    hosts = dict.fromkeys([shown_host(options.host), "127.0.0.1", "localhost"])
    given = os.environ.get("BONGSU_CORS_ORIGINS", "")
    return {
        "BONGSU_CORS_ORIGINS": ",".join([*(f"http://{host}:{options.port}" for host in hosts), *filter(None, [given])])
    }
