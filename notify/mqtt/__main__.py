"""`python -m notify.mqtt`: the bridge, until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

from functions import telemetry
from functions.settings import SettingsError
from functions.stopping import stop_event
from notify.mqtt import settings as environment
from notify.mqtt.settings import MqttSettings


def main() -> int:
    """Run as the environment says; the exit status."""
    from store import StoreUrlError
    from store.snapshots import SnapshotError

    try:
        settings = environment.load()
        telemetry.start("mqtt")
        asyncio.run(bridge(settings))
    except ImportError as error:
        print(f"bongsu mqtt: {error}: pip install 'bongsu[mqtt]'", file=sys.stderr)
        return 1
    except (SettingsError, StoreUrlError, SnapshotError) as error:
        print(f"bongsu mqtt: {error}", file=sys.stderr)
        return 1
    return 0


async def bridge(settings: MqttSettings) -> None:
    """Open the stores and publish until SIGTERM or SIGINT.

    Raises:
        SettingsError, StoreUrlError, SnapshotError: a setting is invalid, so waiting cannot help.
    """
    from notify.mqtt.bridge import Bridge
    from notify.mqtt.follower import Follower
    from notify.mqtt.messages import Site
    from notify.mqtt.topics import Topics
    from notify.resources import open_stores

    stopping = stop_event()
    async with open_stores() as (store, snapshots):
        topics = Topics(settings.mqtt_prefix, settings.discovery_prefix)
        site = Site(topics, store.quiet_s, settings.public_url.rstrip("/"), settings.language)
        await Bridge(settings, site, Follower(store, snapshots, site)).run(stopping)


if __name__ == "__main__":
    sys.exit(main())
