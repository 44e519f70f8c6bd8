"""The `bongsu` command: dead letters, topology, new functions, and what the rooms add through entry points."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from importlib.metadata import entry_points, version
from pathlib import Path

import msgspec

from functions import scaffold
from functions.broker import Broker, BrokerError, DeadLetter, QueueDiffers, connect
from functions.event import DecodeError, Event, decode, utc_now
from functions.function import DeclarationError, load_function
from functions.settings import SettingsError, load
from functions.topology import MOTION, queue, queues

_OWN = {
    "dead": "list, show and replay what nobody could handle",
    "topology": "declare the queues of some functions",
    "function": "write a new function, its manifest and its test",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    rooms = {e.name: e for e in entry_points(group="bongsu.commands")}
    if not given or given[0] in ("-h", "--help", "help"):
        _print_help(rooms)
        sys.exit(0 if given else 2)
    if given == ["--version"]:
        print(f"bongsu {version('bongsu')}")
        sys.exit(0)
    name, rest = given[0], given[1:]
    if name in rooms:
        sys.exit(rooms[name].load()(rest))
    own = {"dead": _dead, "topology": _topology, "function": _function}
    if name not in own:
        sys.exit(f"bongsu: no command {name!r}: choose one of {', '.join(sorted({*own, *rooms}))}")
    try:
        sys.exit(own[name](rest))
    except (BrokerError, DeclarationError, SettingsError, ValueError) as error:
        sys.exit(f"bongsu: {error}")


def _print_help(rooms: Iterable[str]) -> None:
    print("usage: bongsu COMMAND …\n")
    for name, text in _OWN.items():
        print(f"  {name:10} {text}")
    for name in sorted(rooms):
        print(f"  {name:10} see bongsu {name} --help")


def _dead(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bongsu dead", description="Messages that nobody could handle.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="one line each, oldest first")
    listing.add_argument("--queue", help="only this queue, such as fire.post")
    listing.add_argument("--limit", type=int, default=100)
    show = commands.add_parser("show", help="one of them, whole")
    show.add_argument("id")
    replay = commands.add_parser("replay", help="put them back into the queues they died in")
    replay.add_argument("ids", nargs="*", help="as `bongsu dead list` names them")
    replay.add_argument("--all", action="store_true", help="all of them")
    replay.add_argument("--queue", help="all of this queue")
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        return _with_broker(lambda broker: _list_dead(broker, chosen.queue, chosen.limit))
    if chosen.command == "show":
        return _with_broker(lambda broker: _show_dead(broker, chosen.id))
    if not (chosen.ids or chosen.all or chosen.queue):
        parser.error("name the ids to replay, or --queue, or --all")
    return _with_broker(lambda broker: _replay_dead(broker, chosen.ids, chosen.queue))


async def _list_dead(broker: Broker, name: str | None, limit: int) -> int:
    letters = await broker.dead_letters(name, limit)
    for letter in letters:
        event = _event_of(letter)
        told = f"{event.type} {event.camera} {event.id}" if event else f"{len(letter.message.body)} bytes, not an event"
        print(f"{letter.id}\t{letter.dead_at:%Y-%m-%d %H:%M:%S}Z\t{letter.queue}\t{told}\t{letter.reason}")
    print(f"{len(letters)} dead letters", file=sys.stderr)
    return 0


async def _show_dead(broker: Broker, id_: str) -> int:
    letter = next((d for d in await broker.dead_letters(limit=1_000_000) if d.id == id_), None)
    if letter is None:
        print(f"bongsu: no dead letter {id_!r}: see bongsu dead list", file=sys.stderr)
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


def _topology(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bongsu topology", description="The queues.")
    commands = parser.add_subparsers(dest="command", required=True)
    apply = commands.add_parser("apply", help="declare queues; those that exist are kept, and named if they differ")
    apply.add_argument(
        "names", nargs="+", metavar="QUEUE_OR_FUNCTION", help="fire.map, or a function: notify.map, ./hospital.py"
    )
    chosen = parser.parse_args(arguments)
    names: list[str] = []
    for name in chosen.names:
        try:
            names.append(queue(name).name)
        except ValueError:
            names += load_function(name).queues
        else:
            # `notify.map` reads as a queue of type "notify" as well: a module of that name wins, but over `motion`.
            path = Path(*name.split("."))
            if name != MOTION and (path.is_dir() or path.with_suffix(".py").is_file()):
                names[-1:] = load_function(name).queues
    if MOTION in names:
        names += [f"{MOTION}.{region}" for region in load().region_names]

    async def declare(broker: Broker) -> int:
        try:
            await broker.declare(queues(names))
        except QueueDiffers as error:
            # Changing a queue means deleting it with what waits in it: that is for its operator to decide.
            print(f"bongsu: kept as they are: {error}", file=sys.stderr)
            print("To change one: stop its publishers, let it drain, delete it, apply again", file=sys.stderr)
            return 1
        print("\n".join(dict.fromkeys(names)))
        return 0

    return _with_broker(declare)


def _function(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bongsu function", description="Functions of your own.")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="write a function, its manifest and a test")
    new.add_argument("name", help="lower case, such as hospital")
    new.add_argument("--on", required=True, action="append", metavar="TYPE", help="event type; may be repeated")
    new.add_argument("--into", type=Path, default=Path(), metavar="DIR", help="the checkout, default here")
    chosen = parser.parse_args(arguments)
    for path in scaffold.write_function(chosen.into, chosen.name, chosen.on):
        print(f"wrote {path}")
    print(f"next: edit notify/{chosen.name}.py, run its test (make test), then `make run` scales it like the others")
    print("for a cluster: name the manifest in keda/Kustomization and its queues in k8s/base/topology.yaml")
    return 0


def _with_broker(action: Callable[[Broker], Awaitable[int]]) -> int:
    async def act() -> int:
        broker = await connect(load().broker_url)
        try:
            return await action(broker)
        finally:
            await broker.close()

    return asyncio.run(act())


def _event_of(letter: DeadLetter) -> Event | None:
    try:
        return decode(letter.message.body)
    except DecodeError:
        return None


def _summary(event: Event | None) -> dict[str, object] | None:
    if event is None:
        return None
    shown = msgspec.structs.asdict(event)
    shown["frames"] = [f"{len(f.jpeg)} bytes of JPEG, {f.captured_at.isoformat()}" for f in event.frames]
    shown["snapshot"] = f"{len(event.snapshot)} bytes of JPEG" if event.snapshot else None
    shown["age"] = str(timedelta(seconds=round((utc_now() - event.captured_at).total_seconds())))
    return shown
