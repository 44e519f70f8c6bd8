"""Notifies a hospital of accidents nearby, so that its emergency department can prepare; for a server that takes JSON.

Run:   BONGSU_HOSPITAL_URL=https://er.example/alerts BONGSU_HOSPITAL_LAT=37.5622 BONGSU_HOSPITAL_LON=126.9410 \\
       python -m functions examples/hospital.py
Needs: the extra `post` (aiohttp)
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from functions import HazardSeen, Reject, Retry, on
from functions.settings import Environment, Secret, read

_SLOT_S = 600


class HospitalSettings(Environment, frozen=True):
    """The hospital's position, and the address of its server."""

    hospital_url: Secret
    """Address that receives alerts; it may contain a token, so no message shows it."""
    hospital_lat: float
    hospital_lon: float
    hospital_radius_m: float = 5000.0
    """Accidents further away than this are ignored."""


@dataclass(frozen=True, slots=True)
class Hospital:
    """An open connection to the hospital's server."""

    session: aiohttp.ClientSession
    settings: HospitalSettings


@contextlib.asynccontextmanager
async def open_hospital() -> AsyncIterator[Hospital]:
    """Read the settings and open the HTTP client, once per replica."""
    settings = read(HospitalSettings)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield Hospital(session, settings)


@on("accident", uses=open_hospital)
async def hospital(event: HazardSeen, server: Hospital) -> None:
    """Send place and time of an accident within the radius.

    Raises:
        Retry: the server did not answer, or failed.
        Reject: the server refused the request; the same request would be refused again.
    """
    distance_m = event.place.distance_m(server.settings.hospital_lat, server.settings.hospital_lon)
    if distance_m > server.settings.hospital_radius_m:
        return
    try:
        async with server.session.post(
            server.settings.hospital_url.reveal(),
            json=describe(event, distance_m),
            headers={"Idempotency-Key": key_of(event)},
            allow_redirects=False,
        ) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError) as error:
        # The error's text would show the address.
        raise Retry(f"no answer from the hospital: {type(error).__name__}", after=5) from None
    if status >= 500 or status == 429:
        raise Retry(f"hospital answered {status}", after=10)
    if status >= 300:
        raise Reject(f"hospital answered {status}")


def key_of(event: HazardSeen) -> str:
    """One key for all events of a camera within ten minutes: an accident gives many events, and counts once."""
    return f"{event.camera}-{int(event.captured_at.timestamp()) // _SLOT_S}"


def describe(event: HazardSeen, distance_m: float) -> dict[str, Any]:
    """The JSON body: only what an ambulance needs, so the place, but no picture."""
    return {
        "what": "accident",
        "place": {"name": event.place.name, "lat": event.place.lat, "lon": event.place.lon},
        "distance_m": round(distance_m),
        "captured_at": event.captured_at.isoformat(),
        "confidence": round(event.confidence, 2),
    }
