"""The worker of one session: loads a model, reports that it is ready, and serves a client; `python -m sessions.worker`.

Only receive servers connect to it: they authenticate clients, and send the session's id in `X-Bongsu-Session`. It
serves the first session that comes and no other in its life, and ends when its client has been away for too long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from functools import partial
from typing import Any

import websockets.asyncio.server as websockets

from functions import telemetry
from models.registry import ModelError
from sessions import limits
from sessions.catalogue import UnknownModelError, resolve
from sessions.handshake import choose_protocol
from sessions.kinds import open_runner
from sessions.session_worker import SessionWorker
from sessions.wire import MESSAGE_BYTES


async def _run(given: argparse.Namespace) -> None:
    model = resolve(given.kind, given.model)
    worker = SessionWorker(
        open_runner(given.kind, model), given.kind, model, given.idle_s, moves=given.moves, most_cores=given.most_cores
    )
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop(*, is_ended: bool) -> None:
        # Without a receiver of the message, nobody finds the next worker.
        if is_ended or (given.notify and not _tell(given.notify, given.name, "STOPPING")):
            worker.end_session()
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, partial(stop, is_ended=False))
    loop.add_signal_handler(signal.SIGINT, partial(stop, is_ended=True))
    options: dict[str, Any] = {
        "process_request": worker.admit,
        # By hand: the library would refuse a client that offers none, which means JSON.
        "select_subprotocol": choose_protocol,
        "compression": None,
        "max_size": MESSAGE_BYTES,
        # Reading ahead takes memory: the channel decides how much is in flight.
        "max_queue": 1,
        "close_timeout": 2,
        # A request for its results waits until all are answered.
        "open_timeout": 20,
        "server_header": None,
    }
    scheme, _, rest = given.listen.partition(":")
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        serving = websockets.serve(worker.serve, host, int(port), **options)
    else:
        serving = websockets.unix_serve(worker.serve, given.listen, **options)
    async with serving:
        if given.notify:
            _tell(given.notify, given.name, "READY")
        working = asyncio.create_task(worker.work())
        waits = [asyncio.create_task(stopping.wait()), asyncio.create_task(worker.ended.wait()), working]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await worker.leave()
        if working.done():
            working.result()


def _tell(path: str, name: str, what: str) -> bool:
    """Send a message as with systemd's sd_notify; returns whether somebody receives it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
        notify.sendto(f"{what}=1\nNAME={name}".encode(), path)
        return True
    return False


def main(*arguments: str) -> int:
    """Serve until the client has left, SIGTERM (the worker must end) or SIGINT (its session has ended).

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m sessions.worker")
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--model", default="", help="name, name:version, or empty for the kind's default")
    parser.add_argument("--listen", required=True, help="path of a Unix socket, or tcp:HOST:PORT")
    parser.add_argument("--notify", default="", help="datagram socket for the readiness message")
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--memory-mb", type=float, default=0.0, help="memory that it may allocate; 0: unlimited")
    parser.add_argument("--most-cores", type=float, default=0.0, help="share of a core that it may use; 0: unlimited")
    parser.add_argument(
        "--moves", action="store_true", help="its session continues elsewhere, unless /end was requested"
    )
    given = parser.parse_args(arguments)
    telemetry.start("session")
    if given.memory_mb:
        limits.apply(given.memory_mb)
    try:
        asyncio.run(_run(given))
    except (ModelError, UnknownModelError, OSError) as error:
        print(f"session worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
