"""Shows "ambulance ahead" on the message signs near an accident, so that drivers make way; for signs that take HTTP.

signs.json lists them: [{"name": "B1", "lat": 37.5561, "lon": 126.9372, "url": "http://10.0.4.1/message"}]

Run:   BONGSU_AMBULANCE_SIGNS=signs.json python -m functions examples/ambulance.py
Needs: the extra `post` (aiohttp)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec

from functions import HazardSeen, Place, Retry, on, utc_now
from functions.settings import Environment, SettingsError, read

TEXT = "구급차 접근 · AMBULANCE AHEAD"


class AmbulanceSettings(Environment, frozen=True):
    """The signs, and when to use them."""

    ambulance_signs: str
    """JSON file that lists the signs."""
    ambulance_radius_m: float = 1500.0
    """Signs further from the accident are not changed."""
    ambulance_minutes: float = 15.0
    """How long a message is shown; an older accident is not shown."""


class Sign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message sign: its position (WGS 84 degrees), and the address that sets its message."""

    name: str
    lat: float
    lon: float
    url: str


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs, and the HTTP client that sets them."""

    session: aiohttp.ClientSession
    settings: AmbulanceSettings
    all: Sequence[Sign]

    def near(self, place: Place) -> list[Sign]:
        """The signs within the radius, nearest first."""
        away = {sign: place.distance_m(sign.lat, sign.lon) for sign in self.all}
        return sorted((s for s in away if away[s] <= self.settings.ambulance_radius_m), key=away.__getitem__)


@contextlib.asynccontextmanager
async def open_signs() -> AsyncIterator[Signs]:
    """Read the list of signs, once per replica."""
    settings = read(AmbulanceSettings)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Signs(session, settings, read_signs(Path(settings.ambulance_signs)))


def read_signs(path: Path) -> list[Sign]:
    """Read a file's list of signs.

    Raises:
        SettingsError: it cannot be read, or is not a list of signs.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Sign])
    except OSError as error:
        raise SettingsError(f"BONGSU_AMBULANCE_SIGNS: cannot read {str(path)!r}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"BONGSU_AMBULANCE_SIGNS: {str(path)!r} is not a list of signs: {error}") from None


@on("accident", uses=open_signs)
async def ambulance(event: HazardSeen, signs: Signs) -> None:
    """Set the message of each sign near an accident; setting it twice is harmless, so no state is needed.

    Raises:
        Retry: a sign did not accept the message.
    """
    ends_at = event.captured_at + timedelta(minutes=signs.settings.ambulance_minutes)
    if ends_at < utc_now():
        return
    near = signs.near(event.place)
    # Concurrently: a broken sign does not delay the others.
    failed = await asyncio.gather(*(_show(sign, ends_at.isoformat(), signs.session) for sign in near))
    if any(failed):
        raise Retry("; ".join(filter(None, failed)), after=10)


async def _show(sign: Sign, until: str, session: aiohttp.ClientSession) -> str:
    """Set one sign; returns the reason of a failure, or nothing."""
    try:
        async with session.put(sign.url, json={"text": TEXT, "until": until}) as response:
            return "" if response.status < 300 else f"sign {sign.name} answered {response.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"no answer from sign {sign.name}: {type(error).__name__}"
