"""What a run is asked for, and the checks of its cameras and ports before anything starts; `runner.py` calls it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from dataclasses import dataclass
from pathlib import Path

DEMO = Path(__file__).parent / "demo"
_PORT_FREE_S = 5.0


class RunError(Exception):
    """The pipeline cannot be started; one line with the value and the fix."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `bongsu run`."""

    cameras: Path | None = None
    """None: `cameras.yaml` in the current folder, or the demo's."""
    is_demo: bool = False
    state: Path = Path("state")
    host: str = "127.0.0.1"
    port: int = 8080
    keda: Path | None = None
    """None: Bongsu's own, and those in `keda` of the current folder."""
    has_sessions: bool = True
    """Whether clients may ask for a model of their own (docs/sessions.md)."""


def find_cameras(options: Options) -> Path:
    """The file of cameras, as an absolute path.

    Raises:
        RunError: it is missing.
    """
    if options.cameras is None and options.is_demo:
        path = DEMO / "cameras.yaml"
        if not path.is_file():
            raise RunError(f"--demo: {path} is missing: install the whole project, with its demo clips")
        return path
    path = options.cameras or Path("cameras.yaml")
    if not path.is_file():
        raise RunError(
            f"--cameras {path}: no such file: copy cameras.example.yaml to {path} and put your cameras in, "
            "or try `bongsu run --demo`"
        )
    return path.absolute()


def own_copy(cameras: Path, folder: Path) -> Path:
    """The demo's cameras in the state folder, where the page may change them; one that is there already is kept.

    Raises:
        RunError: it cannot be written.
    """
    copy = folder.absolute() / "cameras.yaml"
    try:
        if not copy.exists():
            copy.write_bytes(cameras.read_bytes())
    except OSError as error:
        raise RunError(f"--state {folder}: {copy} cannot be written: {error.strerror}") from None
    return copy


async def require_port(
    host: str, port: int, option: str = "--port", remedy: str = "choose another port or --host"
) -> None:
    """Make sure that a port can be served here; the port of a killed run may stay in use for some seconds.

    Args:
        host: address to listen on.
        port: of it.
        option: what it was chosen with, for the message.
        remedy: what to do if it is taken.

    Raises:
        RunError: it cannot be used.
    """
    if not 0 < port < 65_536:
        raise RunError(f"{option} {port}: must be 1 to 65535, such as --port 8080")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for is_last in (False,) * int(_PORT_FREE_S / 0.5) + (True,):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return
            except OSError as error:
                in_use = error.errno == errno.EADDRINUSE
                if is_last or not in_use or _answers_now(host, port):
                    raise RunError(f"{option} {port}: cannot be used on {host} ({error.strerror}): {remedy}") from None
        await asyncio.sleep(0.5)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


async def answers(host: str, port: int, timeout_s: float) -> bool:
    """Wait until something listens on the port."""
    give_up_at = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < give_up_at:
        if await asyncio.to_thread(_answers_now, host, port):
            return True
        await asyncio.sleep(0.05)
    return False


def _answers_now(host: str, port: int) -> bool:
    try:
        with socket.create_connection((shown_host(host).strip("[]"), port), timeout=1.0):
            return True
    except OSError:
        return False


def shown_host(host: str) -> str:
    """The host to type in a browser on this machine."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def warn_of_open_host(host: str) -> str | None:
    """One line of warning if other machines can reach the page."""
    if host in ("127.0.0.1", "::1", "localhost"):
        return None
    return f"--host {host}: the map and its pictures can be read by everyone who reaches this machine"
