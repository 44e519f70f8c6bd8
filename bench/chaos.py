"""Checks that nothing is lost and nothing is posted twice, with real servers and workers and a driver that breaks them.

Publishers send hazards through RabbitMQ to several replicas of the functions, while workers are killed, the broker is
restarted, killed and its connections closed, the database is stopped, and the channels refuse, fail, become unreachable
and lose responses. The seed decides what breaks and in which order. In the end every event must be on the map once,
every incident posted once on every channel by that channel's own count, and every event that could not be handled must
be a dead letter with its reason, which a replay handles. `make chaos` is the long form; the checks are in
`accounts.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.accounts import Accounts, Dead, Seen, Sent, audit, count_splits
from bench.channels import FAULTS, NAMES, Channels
from functions import HAZARDS, Box, Detection, HazardSeen, Message, Place, encode, utc_now
from functions.broker import Broker, BrokerError, DeadLetter, connect
from functions.signature import new_private_key, public_key_of
from functions.topology import EXCHANGE, queues
from tests.servers import Rabbit, Server, database_server

ROOT = Path(__file__).parents[1]
CAMERAS = 40
TARGETS = ("notify.map", "notify.caption", "notify.post", "courier.py")
QUEUES = (
    *(f"{hazard}.{function}" for hazard in HAZARDS for function in ("map", "caption", "courier")),
    "captioned.map",
    "captioned.post",
    "camera.map",
)

COURIER = '''
"""A function that refuses some events, chosen by id, until it is healed, and records the others in a file."""
import os
from pathlib import Path

from functions import HAZARDS, Event, Reject, Retry, on


@on(*HAZARDS)
async def deliver(event: Event) -> None:
    fate = int(event.id[-6:], 16) % 50
    if fate < 2 and not Path(os.environ["CHAOS_HEALED"]).exists():
        if fate == 0:
            raise Reject("recipient refused")
        raise Retry("recipient away", after=0)
    with open(os.environ["CHAOS_LEDGER"], "a") as ledger:
        ledger.write(event.id + "\\n")
'''
REASONS = ("recipient refused", "recipient away", "not an event", "rate limit is used up", "its worker died")
CHANNELS = ("feed", *NAMES)
REPLAYS = 4
"""An alert refused eight times is a dead letter; replayed with many others, it may be refused again."""
QUIET_S = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """Number of events and workers, and how often each fault happens; the seed decides the order."""

    seed: int = 1
    events: int = 10_000
    publishers: int = 4
    rate_hz: float = 60.0
    """Events a second of all publishers together."""
    replicas: int = 2
    breaks: dict[str, int] = field(default_factory=dict)
    hostile: int = 20
    database: str = "mariadb"
    x_limit: int = 100
    """Posts that X accepts before its limit."""
    x_wait_s: float = 5.0
    """Seconds until the limit resets: X's 15 minutes, shortened so that the run ends."""
    faults: tuple[str, ...] = FAULTS
    """Faults of channels."""
    patience_s: float = 300.0
    """Seconds without progress after which a wait is given up."""

    def schedule(self) -> list[tuple[float, str, int]]:
        """The faults: (seconds after the start, kind, a number that picks the target)."""
        dice = random.Random(self.seed)
        names = [name for name, times in sorted(self.breaks.items()) for _ in range(times)]
        dice.shuffle(names)
        span_s = self.events / self.rate_hz
        at = sorted(dice.uniform(0.05, 1.0) * span_s for _ in names)
        return [(when, name, dice.randrange(1_000_000)) for when, name in zip(at, names, strict=True)]

    def event(self, index: int) -> HazardSeen:
        """The event of that number: the same id, camera and hazard in each run of this seed."""
        dice = random.Random(self.seed * 1_000_003 + index)
        hazard = dice.choice(HAZARDS)
        camera = dice.randrange(CAMERAS)
        box = Box(0.2, 0.2, 0.2 + dice.uniform(0.05, 0.4), 0.6)
        return HazardSeen(
            id=f"{self.seed:08x}{index:024x}",
            hazard=hazard,
            camera=f"camera-{camera}",
            place=Place(35.0 + camera / 20, 127.0 + camera / 20, f"Crossing {camera}"),
            captured_at=utc_now(),
            detections=(Detection(hazard, round(dice.uniform(0.5, 0.99), 3), box),),
            labels_searched=HAZARDS,
        )


LONG = {
    **{"kill": 60, "term": 40, "close": 15, "broker_restart": 6, "broker_kill": 6, "database": 5, "publisher": 10},
    **{"channel": 60, "channel_away": 6},
}
SHORT = Plan(
    seed=7,
    events=400,
    publishers=2,
    rate_hz=60.0,
    replicas=1,
    breaks={"kill": 4, "term": 3, "close": 2, "broker_kill": 1, "publisher": 1, "channel": 5, "channel_away": 1},
    hostile=3,
    database="sqlite",
    x_limit=40,
    x_wait_s=2.0,
    faults=("cut-after", "html-503"),
    patience_s=90.0,
)


@dataclass(slots=True)
class Result:
    """Result of the run; `problems` is empty if every guarantee holds."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, claim: str, holds: bool) -> None:
        if not holds:
            self.problems.append(claim)


class _Slot:
    """One place for a worker: a worker that dies is replaced at once, as in Kubernetes."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._command, self._environment, self._log = command, environment, log
        self._deaths: set[int] = set()
        self.crashes: list[int] = []
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._deaths = {0}
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, cwd=ROOT
            )

    def send(self, signum: signal.Signals) -> None:
        if self.is_alive:
            assert self._process is not None
            # SIGTERM may kill only a worker without a handler for it, which holds no event; others must exit with 0.
            if signum != signal.SIGTERM or not _listens(self._process.pid, signum):
                self._deaths.add(-signum)
            self._process.send_signal(signum)

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def tend(self) -> None:
        """Replace a worker that ended; an exit code other than 0 or a signal that we sent counts as a crash."""
        code = self.exit_code
        if code is None:
            return
        if code not in self._deaths:
            self.crashes.append(code)
        self.start()

    def finish(self, timeout_s: float = 40.0) -> int:
        """SIGTERM, and its exit code; -9 where it had to be killed."""
        assert self._process is not None
        self.send(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(10)


def _listens(pid: int, signum: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signum - 1) & 1)


class Chaos:
    """One run in one folder."""

    def __init__(self, plan: Plan, home: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._plan = plan
        self._home = home
        self._say = say
        self._begun = time.monotonic()
        self._result = Result()
        self._done: Counter[str] = Counter()
        self._rabbit = Rabbit(home / "rabbit")
        self._maria = database_server(home / "maria") if plan.database == "mariadb" else None
        self._channels = Channels(home, plan.x_limit, plan.x_wait_s)
        self._hostile: dict[str, str] = {}
        self._least = sys.maxsize
        """Smallest number of waiting messages since the present wait began."""
        self._workers: list[_Slot] = []
        self._publishers: list[_Slot] = []
        self._healed = home / "healed"
        self._ledger = home / "ledger"
        self._caption_key = new_private_key()
        self._ledger.touch()

    def run(self) -> Result:
        """Inject the faults, wait until all queues are empty, and check the result."""
        servers: list[Server] = [self._rabbit, *([self._maria] if self._maria else [])]
        try:
            for server in servers:
                server.start()
            self._channels.start()
            self._log(f"servers up, {self._plan.events} events, seed {self._plan.seed}")
            asyncio.run(self._declare())
            self._start()
            self._break()
            self._judge_settled()
            self._replay()
            self._judge_end()
        finally:
            for slot in (*self._publishers, *self._workers):
                slot.send(signal.SIGKILL)
            self._channels.stop()
            for server in servers:
                server.stop()
        self._result.facts["seconds"] = round(time.monotonic() - self._begun, 1)
        return self._result

    # The stages of a run, in order.

    async def _declare(self) -> None:
        broker = await connect(self._rabbit.url)
        await broker.declare(queues(QUEUES))
        await broker.close()

    def _start(self) -> None:
        (self._home / "courier.py").write_text(COURIER)
        for target in TARGETS:
            name = target.removesuffix(".py").rpartition(".")[2]
            where = str(self._home / target) if target.endswith(".py") else target
            for number in range(self._plan.replicas):
                command = [sys.executable, "-m", "functions", where]
                log = self._home / f"{name}-{number}.log"
                self._workers.append(_Slot(f"{name}-{number}", command, self._environment(), log))
        each = self._plan.events // self._plan.publishers
        for number in range(self._plan.publishers):
            first = number * each
            count = each if number < self._plan.publishers - 1 else self._plan.events - first
            command = [
                sys.executable, "-m", "bench.chaos", "--publish", self._rabbit.url, "--seed", str(self._plan.seed),
                "--first", str(first), "--count", str(count), "--rate", str(self._plan.rate_hz / self._plan.publishers),
                "--confirmed", str(self._confirmed(number)),
            ]  # fmt: skip
            log = self._home / f"publisher-{number}.log"
            self._publishers.append(_Slot(f"publisher-{number}", command, self._environment(), log))

    def _break(self) -> None:
        started = time.monotonic()
        schedule = self._plan.schedule()
        hostile_every = max(1, len(schedule) // max(1, self._plan.hostile))
        for turn, (when, what, number) in enumerate(schedule):
            while time.monotonic() - started < when:
                self._tend()
                time.sleep(0.05)
            self._do(what, number)
            if turn % hostile_every == 0 and len(self._hostile) < self._plan.hostile:
                self._send_hostile()
        while len(self._hostile) < self._plan.hostile:
            self._send_hostile()
        self._result.facts["hostile messages"] = len(self._hostile)
        self._wait("all is published", lambda: all(self._is_done(n) for n in range(len(self._publishers))))
        self._result.facts["broken"] = dict(self._done)

    def _do(self, what: str, number: int) -> None:
        self._done[what] += 1
        if what in ("kill", "term"):
            slot = self._workers[number % len(self._workers)]
            slot.send(signal.SIGKILL if what == "kill" else signal.SIGTERM)
            self._log(f"{what} {slot.name}")
            return
        if what == "publisher":
            self._publishers[number % len(self._publishers)].send(signal.SIGKILL)
            self._log("kill a publisher")
            return
        if what == "channel":
            self._log(self._channels.fail(self._done[what] - 1, self._plan.faults))
            return
        if what == "channel_away":
            self._log(self._channels.leave(number))
            return
        self._log(what)
        if what == "close":
            self._rabbit.ctl("close_all_connections", "chaos")
        elif what == "broker_restart":
            self._rabbit.stop()
            self._pause(number % 3)
            self._rabbit.start()
        elif what == "broker_kill":
            self._rabbit.kill()
            self._pause(number % 3)
            self._rabbit.start()
        elif what == "database" and self._maria is not None:
            (self._maria.kill if number % 2 else self._maria.stop)()
            self._pause(1 + number % 5)
            self._maria.start()

    def _judge_settled(self) -> None:
        """With every queue empty, each event is handled, or is a dead letter with its reason."""
        self._wait("the queues are empty", self._is_drained)
        books = self._books()
        self._result.problems += [f"before replay: {problem}" for problem in audit(books)]
        self._result.facts["dead letters"] = len(books.dead)
        self._result.facts["their reasons"] = dict(Counter(_kind(letter.reason) for letter in books.dead))
        refused = {letter.id for letter in books.dead if letter.queue.endswith(".courier")}
        doomed = {self._id(i) for i in self._doomed()}
        self._result.expect("every event that the courier refuses is a dead letter of its queue", doomed <= refused)
        self._result.expect("the courier accepted none that it refuses", not doomed & set(books.delivered))

    def _replay(self) -> None:
        self._healed.touch()
        self._channels.heal()
        replayed = []
        for _ in range(REPLAYS):
            replayed.append(self._bongsu("dead", "replay", "--all").strip())
            self._wait("the queues are empty after a replay", self._is_drained)
            if all("not an event" in letter.reason for letter in self._dead()):
                break
        self._result.facts["replayed"] = "; ".join(replayed)

    def _judge_end(self) -> None:
        """With only hostile messages among the dead letters, the accounts must match exactly."""
        self._result.expect("the channels' test servers are alive", self._channels.is_alive)
        books = self._books()
        self._result.problems += audit(books)
        others = [letter for letter in books.dead if "not an event" not in letter.reason]
        self._result.expect(f"only hostile messages are dead letters again, got {others[:5]}", not others)
        codes = Counter(slot.finish() for slot in self._workers)
        self._result.expect(f"every worker exits with 0 on SIGTERM, got {dict(codes)}", set(codes) == {0})
        crashes = {slot.name: slot.crashes for slot in (*self._workers, *self._publishers) if slot.crashes}
        self._result.expect(f"no worker crashed, got {crashes}", not crashes)
        met = self._channels.stop()
        self._result.expect(f"X's limit was hit, it met {met['x']}", met["x"].get("limit reached", 0) > 0)
        mapped = Counter(event for event, _ in books.sightings)
        taken = Counter(post.channel for post in books.accepted)
        self._result.facts |= {
            "workers started": sum(slot.starts for slot in self._workers),
            "confirmed": len(books.confirmed),
            "on the map": len(mapped),
            "lost": len(books.sent.keys() - mapped.keys()),
            "incidents": len(books.incidents),
            "of these, split by events that came late": count_splits(books, QUIET_S),
            "posts in the database": dict(Counter(channel for _, channel in books.posts)),
            "posts that the channels accepted": dict(taken),
            "doubled": sum(taken.values()) - len({(one.incident, one.channel) for one in books.accepted}),
            "outcomes of the channels' requests": met,
        }

    # Checks used by the stages.

    def _environment(self) -> dict[str, str]:
        database = self._maria.url if self._maria else f"sqlite+aiosqlite:///{self._home}/map.db"
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BONGSU_BROKER_URL": self._rabbit.url,
            "BONGSU_DATABASE_URL": database,
            "BONGSU_SNAPSHOT_URL": str(self._home / "snapshots"),
            "BONGSU_QUIET_S": str(QUIET_S),
            "BONGSU_CAPTION_KEY": self._caption_key,
            "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(self._caption_key),
            # No age limit: late events are posted too, so that they can be counted.
            "BONGSU_POST_MAX_AGE_S": "0",
            "BONGSU_GRACE_S": "10",
            "BONGSU_LOG_LEVEL": "warning",
            "CHAOS_HEALED": str(self._healed),
            "CHAOS_LEDGER": str(self._ledger),
            **self._channels.environment,
        }

    def _confirmed(self, number: int) -> Path:
        return self._home / f"confirmed-{number}"

    def _is_done(self, number: int) -> bool:
        each = self._plan.events // self._plan.publishers
        last = number == self._plan.publishers - 1
        count = self._plan.events - each * number if last else each
        return len(self._lines(self._confirmed(number))) >= count

    def _id(self, index: int) -> str:
        return f"{self._plan.seed:08x}{index:024x}"

    def _doomed(self) -> set[int]:
        return {i for i in range(self._plan.events) if int(self._id(i)[-6:], 16) % 50 < 2}

    @staticmethod
    def _lines(path: Path) -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    def _tend(self) -> None:
        for slot in self._workers:
            slot.tend()
        for number, slot in enumerate(self._publishers):
            if not self._is_done(number):
                slot.tend()

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._tend()
            time.sleep(0.1)

    def _wait(self, claim: str, holds: Callable[[], bool]) -> None:
        """Wait while there is progress, at any speed, as that depends on other load of the machine."""
        self._least = sys.maxsize
        progress, end = self._progress(), time.monotonic() + self._plan.patience_s
        while time.monotonic() < end:
            self._tend()
            with contextlib.suppress(BrokerError):
                if holds():
                    self._log(claim)
                    return
            self._pause(3.0)
            if self._progress() > progress:
                progress, end = self._progress(), time.monotonic() + self._plan.patience_s
        self._result.problems.append(f"nothing happened for {self._plan.patience_s:.0f} s, and still not: {claim}")

    def _progress(self) -> int:
        """A bounded number that grows with each confirmed publish, delivery and post, and with each new minimum of
        waiting messages."""
        notes = (self._ledger, self._channels.ledger, *map(self._confirmed, range(self._plan.publishers)))
        return sum(note.stat().st_size for note in notes if note.exists()) - self._least

    def _send_hostile(self) -> None:
        """Send one message that is not an event to the queues of one hazard."""
        number = len(self._hostile)
        name, hazard = f"hostile-{number}", HAZARDS[number % len(HAZARDS)]
        message = Message(hazard, random.Random(number).randbytes(200), {"cloudEvents:id": name})

        async def send() -> None:
            broker = await connect(self._rabbit.url)
            try:
                await broker.publish(message)
            finally:
                await broker.close()

        end = time.monotonic() + self._plan.patience_s
        while time.monotonic() < end:
            with contextlib.suppress(BrokerError):
                asyncio.run(send())
                break
            self._pause(0.5)
        self._hostile[name] = hazard

    def _dead(self) -> list[DeadLetter]:
        async def read() -> list[DeadLetter]:
            broker = await connect(self._rabbit.url)
            try:
                return list(await broker.dead_letters(limit=1_000_000))
            finally:
                await broker.close()

        return asyncio.run(read())

    def _is_drained(self) -> bool:
        """Whether all queues except the dead letters are empty, checked twice, as an event may move between two queues
        while they are read."""
        # rabbitmqctl takes a second of CPU, which the workers need while they are busy.
        return not asyncio.run(self._is_work_waiting()) and self._is_empty() and self._is_empty()

    async def _is_work_waiting(self) -> bool:
        broker = await connect(self._rabbit.url)
        try:
            waiting = sum([(await broker.depth(name)).ready for name in QUEUES])
            self._least = min(self._least, waiting)
            return waiting > 0
        finally:
            await broker.close()

    def _is_empty(self) -> bool:
        listing = self._rabbit.ctl("list_queues", "name", "messages", "--formatter", "json")
        return all(q["messages"] == 0 for q in json.loads(listing) if q["name"] != f"{EXCHANGE}.dead")

    def _books(self) -> Accounts:
        """All accounts at this moment."""
        plan = self._plan
        sent = {self._id(i): Sent(event.type, event.camera) for i in range(plan.events) for event in [plan.event(i)]}
        confirmed = {self._id(int(i)) for n in range(plan.publishers) for i in self._lines(self._confirmed(n))}
        dead = [Dead(d.queue, d.message.headers.get("cloudEvents:id", ""), d.reason) for d in self._dead()]
        return Accounts(
            sent=sent, confirmed=confirmed, hostile=self._hostile, channels=frozenset(CHANNELS), dead=dead,
            accepted=self._channels.accepted(),
            delivered=set(self._lines(self._ledger)), **asyncio.run(self._read_map()),
        )  # fmt: skip

    async def _read_map(self) -> dict[str, Any]:
        """Content of the database, by the field names of `Accounts`."""
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(self._environment()["BONGSU_DATABASE_URL"])
        try:
            async with engine.connect() as db:
                sightings = (await db.execute(text("SELECT event_id, incident_id, caption_trace FROM sightings"))).all()
                incidents = await db.execute(
                    text("SELECT id, hazard, camera, sightings, first_seen, last_seen FROM incidents")
                )
                posts = await db.execute(
                    text("SELECT incident_id, channel, text_ko, text_en FROM posts WHERE state = 'posted'")
                )
                return {
                    "sightings": [(event, incident) for event, incident, _ in sightings],
                    "captioned": {event for event, _, trace in sightings if trace is not None},
                    "incidents": {number: Seen(*seen) for number, *seen in incidents},
                    "posts": {(incident, channel): ko or en for incident, channel, ko, en in posts},
                }
        finally:
            await engine.dispose()

    def _bongsu(self, *arguments: str) -> str:
        command = [sys.executable, "-c", "from functions.cli import main; main()", *arguments]
        done = subprocess.run(
            command, env=self._environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._result.expect(f"bongsu {' '.join(arguments)} succeeds: {done.stdout[-300:]}", done.returncode == 0)
        return done.stdout

    def _log(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._begun:7.1f} s  {what}")


def _kind(reason: str) -> str:
    return next((r for r in REASONS if r in reason), reason.partition(":")[0][:60])


async def _publish(url: str, plan: Plan, indexes: range, rate_hz: float, confirmed: Path) -> None:
    """Publish events until each is confirmed, and record their ids; a successor continues after the last of them."""
    done = len(confirmed.read_text().splitlines()) if confirmed.exists() else 0
    broker: Broker | None = None
    begun, offset = time.monotonic(), done
    while done < len(indexes):
        window = indexes[done : done + 16]
        with contextlib.suppress(BrokerError):
            broker = broker or await connect(url)
            await broker.publish(*(encode(plan.event(i)) for i in window))
            with confirmed.open("a") as note:
                note.write("".join(f"{i}\n" for i in window))
            done += len(window)
            await asyncio.sleep(max(0.0, begun + (done - offset) / rate_hz - time.monotonic()))
            continue
        await asyncio.sleep(0.3)
    if broker is not None:
        await broker.close()


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="bongsu-chaos-") as folder:
        yield Path(folder)


def main() -> None:
    """Run the long form and print the result; exits with 1 where a guarantee is violated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--database", choices=["mariadb", "sqlite"], default="mariadb")
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--keep", type=Path, help="a folder that keeps logs and data")
    for name in ("--publish", "--confirmed"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--first", "--count"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.publish:
        plan = Plan(seed=chosen.seed)
        confirmed = Path(chosen.confirmed)
        indexes = range(chosen.first, chosen.first + chosen.count)
        asyncio.run(_publish(chosen.publish, plan, indexes, chosen.rate, confirmed))
        return
    plan = SHORT if chosen.short else Plan(
        seed=chosen.seed, events=chosen.events, rate_hz=chosen.rate, replicas=chosen.replicas,
        breaks=LONG, database=chosen.database,
    )  # fmt: skip
    # On SIGTERM, stop all started processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with _folder(chosen.keep) as home:
        result = Chaos(plan, home, say=lambda line: print(line, flush=True)).run()
    for name, value in result.facts.items():
        print(f"| {name} | {value} |")
    for problem in result.problems:
        print(f"BROKEN: {problem}")
    sys.exit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
