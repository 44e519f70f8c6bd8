"""Answers each fire with where it burns; the same function is in lookout-node/ (TypeScript) and lookout-go/.

Run:   python -m functions examples/lookout.py
Check: BONGSU_BROKER_URL=amqp://guest:guest@127.0.0.1 bongsu function check 'python -m functions examples/lookout.py'
Needs: a reader of `lookout` (bongsu topology apply lookout.log)
"""

from __future__ import annotations

from functions import CustomEvent, HazardSeen, Reject, Retry, on


@on("fire")
async def lookout(event: HazardSeen) -> CustomEvent:
    """Called once for every fire; at least once if a replica dies.

    Raises:
        Retry: its place has no name yet.
        Reject: it has no picture.
    """
    if not event.place.name:
        raise Retry("no place yet", after=1)
    if event.frame is None:
        raise Reject("no picture")
    text = f"fire at {event.place.name}, {event.confidence:.0%}"
    return CustomEvent(
        type="lookout", id=event.id, camera=event.camera, place=event.place, captured_at=event.captured_at, status=text,
        late=event.late, trace=event.trace,
    )  # fmt: skip
