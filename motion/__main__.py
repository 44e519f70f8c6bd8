"""`python -m motion` runs the edge worker; BONGSU_CAMERAS names the camera file, BONGSU_NODE this node."""

from __future__ import annotations

import asyncio
import os
import sys

from functions import telemetry
from functions.broker import connect
from functions.buffer import EventBuffer
from functions.settings import Settings, SettingsError, load
from functions.stopping import stop_event
from motion import settings as motion_settings
from motion.clips import Clips
from motion.config import ConfigError, cameras_path
from motion.leases import Leases
from motion.worker import Worker


async def _run(settings: Settings) -> None:
    stop = stop_event()
    own = motion_settings.load()
    neighbours = Leases(own) if own.lease_url else None
    worker = Worker(
        cameras_path(),
        lambda: connect(settings.broker_url),
        own.node or None,
        EventBuffer.of(settings),
        neighbours,
        regions=settings.region_names,
        clips=Clips.open(motion_settings.load_clips()),
    )
    await worker.run(stop)


def main() -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        SystemExit: with one line on stderr, if a setting or the camera file cannot be used.
    """
    try:
        telemetry.start("motion")
        asyncio.run(_run(load()))
    except (SettingsError, ConfigError) as error:
        sys.exit(f"bongsu: {error}")
    sys.stderr.flush()
    # A camera's thread may still hang in the network; a normal exit could wait for it or crash.
    os._exit(0)


if __name__ == "__main__":
    main()
