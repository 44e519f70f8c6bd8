"""`bongsu dead`: list, show and replay dead letters."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta

import click
import msgspec

from functions.broker import Broker, DeadLetter
from functions.command import in_one_line, with_broker
from functions.event import DecodeError, Event, Frame, decode, utc_now


@click.group()
def dead() -> None:
    """List, show and replay dead letters."""


@dead.command("list")
@click.option("--queue", "name", metavar="QUEUE", help="Only this queue, such as fire.post.")
@click.option("--limit", type=int, default=100, show_default=True, help="The most to list.")
@in_one_line
def _dead_list(name: str | None, limit: int) -> int:
    """Print one line each, oldest first."""
    return with_broker(lambda broker: _list_dead(broker, name, limit))


@dead.command("show")
@click.argument("id_", metavar="ID")
@in_one_line
def _dead_show(id_: str) -> int:
    """Print one dead letter in full."""
    return with_broker(lambda broker: _show_dead(broker, id_))


@dead.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@click.option("--queue", "name", metavar="QUEUE", help="All of this queue.")
@in_one_line
def _dead_replay(ids: tuple[str, ...], is_all: bool, name: str | None) -> int:
    """Put dead letters back into the queues they died in.

    An ID is as `bongsu dead list` prints it.
    """
    if not (ids or is_all or name):
        raise click.UsageError("name the ids to replay, or --queue, or --all")
    return with_broker(lambda broker: _replay_dead(broker, ids, name))


async def _list_dead(broker: Broker, name: str | None, limit: int) -> int:
    letters = await broker.dead_letters(name, limit)
    for letter in letters:
        event = _event_of(letter)
        summary = (
            f"{event.type} {event.subject} {event.id}" if event else f"{len(letter.message.body)} bytes, not an event"
        )
        print(f"{letter.id}\t{letter.dead_at:%Y-%m-%d %H:%M:%S}Z\t{letter.queue}\t{summary}\t{letter.reason}")
    print(f"{len(letters)} dead letters", file=sys.stderr)
    return 0


async def _show_dead(broker: Broker, id_: str) -> int:
    letter = next((d for d in await broker.dead_letters(limit=1_000_000) if d.id == id_), None)
    if letter is None:
        print(f"bongsu: no dead letter {id_!r}: bongsu dead list shows them", file=sys.stderr)
        return 1
    facts = {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason,
        "dead_at": letter.dead_at,
        "attempts": letter.attempts,
        "headers": dict(letter.message.headers),
        "event": _summary(_event_of(letter)) or f"not an event; begins {letter.message.body[:64]!r}",
    }
    print(msgspec.json.format(msgspec.json.encode(facts, enc_hook=repr), indent=2).decode())
    return 0


async def _replay_dead(broker: Broker, ids: Sequence[str], name: str | None) -> int:
    chosen = ids or [d.id for d in await broker.dead_letters(name, limit=1_000_000)]
    replayed = await broker.replay(chosen)
    print(f"{replayed} of {len(chosen)} dead letters replayed")
    return 0 if replayed == len(chosen) else 1


def _event_of(letter: DeadLetter) -> Event | None:
    try:
        return decode(letter.message.body)
    except DecodeError:
        return None


def _summary(event: Event | None) -> dict[str, object] | None:
    if event is None:
        return None
    shown = {"type": event.type, **{name: _shown(value) for name, value in msgspec.structs.asdict(event).items()}}
    shown["age"] = str(timedelta(seconds=round((utc_now() - event.time).total_seconds())))
    return shown


def _shown(value: object) -> object:
    """A field of an event for display; a picture is shown by its size."""
    if isinstance(value, Frame):
        return f"{len(value.jpeg)} bytes of JPEG, {value.captured_at.isoformat()}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes of JPEG"
    return [_shown(one) for one in value] if isinstance(value, tuple) else value
