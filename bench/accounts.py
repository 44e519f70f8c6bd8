"""The accounts of a chaos run: events sent, incidents on the map, posts accepted by channels, and their consistency.

Plain data in, a list of violated guarantees out, so that the checker itself can be tested on made-up ledgers.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

FEED = "feed"
"""The channel whose posts are rows of our own database, so it has no separate ledger."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class AcceptedPost:
    """One post that a channel's own server accepted, whether or not its response arrived."""

    channel: str
    incident: int | None
    """Read from the post itself; None if it has none."""
    words: str


@dataclass(frozen=True, slots=True)
class Sent:
    """One event as it was published."""

    hazard: str
    camera: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One incident as the map shows it."""

    hazard: str
    camera: str
    sightings: int
    """The map's count; the rows themselves are in `Accounts.sightings`."""
    first_seen: int
    """Microseconds."""
    last_seen: int


@dataclass(frozen=True, slots=True)
class Dead:
    """One dead letter: the queue it died in, its event's id, and why."""

    queue: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accounts:
    """All accounts at one moment when every queue is empty."""

    sent: Mapping[str, Sent]
    """Events that had to be published, by event id."""
    confirmed: Collection[str]
    """Event ids that the broker confirmed to a publisher."""
    hostile: Mapping[str, str]
    """Ids of the messages that are not events, and the hazard whose queues they were sent to."""
    channels: Set[str]
    sightings: Sequence[tuple[str, int]] = ()
    """(event id, incident) of every row."""
    captioned: Collection[str] = ()
    """Event ids whose captioned copy reached the map."""
    incidents: Mapping[int, Seen] = field(default_factory=dict)
    posts: Mapping[tuple[int, str], str] = field(default_factory=dict)
    """Text by (incident, channel) of the posts that our database records as sent."""
    accepted: Sequence[AcceptedPost] = ()
    delivered: Collection[str] = ()
    """Event ids that the courier accepted."""
    dead: Sequence[Dead] = ()


def audit(books: Accounts) -> list[str]:
    """The violated guarantees, a line for each; empty if all hold.

    A dead letter is not lost: it excuses its own missing effects, and nothing else. If only hostile messages are dead
    letters, nothing is excused.
    """
    found = (
        *_check_events(books),
        *_check_incidents(books),
        *_check_dead(books),
        *_check_posts(books),
        *_check_accepted(books),
    )
    return [f"{claim}, but {len(these)} did not: {_show(these)}" for claim, these in found if these]


def count_splits(books: Accounts, quiet_s: float) -> int:
    """Incidents that began within the quiet period of another of their camera and hazard.

    Events that arrive late may fall between two incidents that are both posted already. Each was posted once; had the
    events arrived in order, there would have been one incident.
    """
    by_place: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for seen in books.incidents.values():
        by_place[seen.camera, seen.hazard].append(seen)
    close = 0
    for these in by_place.values():
        these.sort(key=lambda seen: seen.first_seen)
        close += sum(b.first_seen - a.last_seen <= quiet_s * 1e6 for a, b in itertools.pairwise(these))
    return close


Finding = tuple[str, Sequence[object]]


def _check_events(books: Accounts) -> Iterable[Finding]:
    dead = {(letter.queue, letter.id) for letter in books.dead}
    mapped, captioned, delivered = {event for event, _ in books.sightings}, set(books.captioned), set(books.delivered)
    sent = books.sent.items()
    yield "every event was confirmed to its publisher", sorted(books.sent.keys() - set(books.confirmed))
    yield (
        "every event is on the map or a dead letter",
        [i for i, s in sent if i not in mapped and (f"{s.hazard}.map", i) not in dead],
    )
    yield (
        "every event's caption reached the map or a dead letter",
        [
            i for i, s in sent
            if i not in captioned and not {(f"{s.hazard}.caption", i), ("captioned.map", i)} & dead
        ],
    )  # fmt: skip
    yield (
        "every event reached the courier or a dead letter",
        [i for i, s in sent if i not in delivered and (f"{s.hazard}.courier", i) not in dead],
    )
    yield "everything on the map was sent", sorted((mapped | captioned) - books.sent.keys())


def _check_incidents(books: Accounts) -> Iterable[Finding]:
    rows = Counter(event for event, _ in books.sightings)
    held = Counter(incident for _, incident in books.sightings)
    yield "every event is on the map once", [event for event, times in rows.items() if times > 1]
    claimed = {incident: seen.sightings for incident, seen in books.incidents.items()}
    yield (
        "every incident counts its sightings",
        [i for i in sorted(held.keys() | claimed.keys()) if claimed.get(i) != held[i]],
    )
    wrong = []
    for event, incident in books.sightings:
        sent, seen = books.sent.get(event), books.incidents.get(incident)
        if sent is not None and seen is not None and (sent.hazard, sent.camera) != (seen.hazard, seen.camera):
            wrong.append((event, incident))
    yield "every event is in an incident of its own camera and hazard", wrong


def _check_dead(books: Accounts) -> Iterable[Finding]:
    yield "every dead letter has a reason", [letter for letter in books.dead if not letter.reason]
    known = books.sent.keys() | books.hostile.keys()
    yield "every dead letter is one that was sent", [letter for letter in books.dead if letter.id not in known]
    undecodable = {(letter.queue, letter.id) for letter in books.dead if "not an event" in letter.reason}
    due = {(f"{hazard}.{f}", i) for i, hazard in books.hostile.items() for f in ("map", "caption", "courier")}
    yield "every hostile message is a dead letter of each queue it was sent to", sorted(due - undecodable)
    yield "every dead letter that is not an event was hostile", sorted(undecodable - due)


def _check_posts(books: Accounts) -> Iterable[Finding]:
    due = {(incident, channel) for incident in books.incidents for channel in books.channels}
    excused = _excused(books)
    missing = [post for post in sorted(due - books.posts.keys()) if post[0] not in excused]
    yield "every incident was posted on every channel, or a dead letter will", missing
    yield "every post is of an incident and a channel", sorted(books.posts.keys() - due)


def _check_accepted(books: Accounts) -> Iterable[Finding]:
    times = Counter((post.incident, post.channel) for post in books.accepted)
    yield "every channel accepted an incident once", sorted(str(post) for post, n in times.items() if n > 1)
    excused = _excused(books)
    unknown = [post for post in times if post not in books.posts and post[0] not in excused]
    yield "every post that a channel accepted is known to our database", sorted(map(str, unknown))
    posted = {post for post in books.posts if post[1] != FEED}
    yield "every post of our database was accepted by its channel", sorted(posted - times.keys())
    differing = [
        post for post in books.accepted
        if post.incident is not None and books.posts.get((post.incident, post.channel), "") not in post.words
    ]  # fmt: skip
    yield "every channel has the text that our database holds", differing


def _excused(books: Accounts) -> set[int]:
    """Incidents with a dead letter of the poster, or with an event that is not captioned yet."""
    queues = {"captioned.post"} | {f"{sent.hazard}.caption" for sent in books.sent.values()}
    waiting = {letter.id for letter in books.dead if letter.queue in queues}
    return {incident for event, incident in books.sightings if event in waiting}


def _show(these: Sequence[object]) -> str:
    shown = ", ".join(map(str, these[:_SHOWN]))
    return shown if len(these) <= _SHOWN else f"{shown}, …"
