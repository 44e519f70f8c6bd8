"""The checker of the chaos run on made-up books: what adds up is passed, each kind of loss and doubling is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.accounts import AcceptedPost, Accounts, Dead, Seen, Sent, audit, count_splits

CHANNELS = frozenset({"feed", "x", "webhook"})
SECOND = 1_000_000


def books() -> Accounts:
    """Three events, two incidents on three channels, one hostile message: all is well."""
    return Accounts(
        sent={"a": Sent("fire", "gate"), "b": Sent("fire", "gate"), "c": Sent("gun", "gate")},
        confirmed={"a", "b", "c"},
        hostile={"h": "gun"},
        channels=CHANNELS,
        sightings=[("a", 1), ("b", 1), ("c", 2)],
        captioned={"a", "b", "c"},
        incidents={1: Seen("fire", "gate", 2, 0, 3 * SECOND), 2: Seen("gun", "gate", 1, SECOND, SECOND)},
        posts={(incident, channel): f"words {incident}" for incident in (1, 2) for channel in CHANNELS},
        accepted=[AcceptedPost(c, i, f"words {i} [{i}]") for i in (1, 2) for c in ("x", "webhook")],
        delivered={"a", "b", "c"},
        dead=[Dead(f"gun.{function}", "h", "not an event: …") for function in ("map", "caption", "courier")],
    )


def test_books_that_add_up_are_passed() -> None:
    assert audit(books()) == []


def without(event: str) -> Callable[[Accounts], Accounts]:
    return lambda b: replace(b, sightings=[row for row in b.sightings if row[0] != event])


@pytest.mark.parametrize(
    ("cook", "claim"),
    [
        (lambda b: replace(b, confirmed={"a", "b"}), "confirmed to its publisher, but 1 did not: c"),
        (without("b"), "on the map or a dead letter, but 1 did not: b"),
        (without("b"), "counts its sightings, but 1 did not: 1"),
        (lambda b: replace(b, captioned={"a", "c"}), "caption reached the map or a dead letter, but 1 did not: b"),
        (lambda b: replace(b, delivered={"a", "b"}), "reached the courier or a dead letter, but 1 did not: c"),
        (lambda b: replace(b, sightings=[*b.sightings, ("b", 2)]), "on the map once, but 1 did not: b"),
        (lambda b: replace(b, sightings=[*b.sightings, ("stranger", 2)]), "on the map was sent"),
        (lambda b: replace(b, sightings=[("a", 1), ("b", 1), ("c", 1)]), "its own camera and hazard"),
        (lambda b: replace(b, dead=b.dead[1:]), "hostile message is a dead letter of each queue"),
        (lambda b: replace(b, dead=[*b.dead, Dead("fire.map", "a", "")]), "dead letter has a reason"),
        (lambda b: replace(b, dead=[*b.dead, Dead("fire.map", "z", "odd")]), "dead letter is one that was sent"),
        (lambda b: replace(b, dead=[*b.dead, Dead("fire.map", "a", "not an event")]), "not an event was hostile"),
        # Doubled: with the same words, in others, and where our own database shows one post all the same.
        (lambda b: replace(b, accepted=[*b.accepted, b.accepted[0]]), "every channel accepted an incident once"),
        (
            lambda b: replace(b, accepted=[*b.accepted, AcceptedPost("x", 2, "other words [2]")]),
            "every channel accepted an incident once",
        ),
        # Our database and the channels disagree.
        (lambda b: replace(b, accepted=b.accepted[1:]), "every post of our database was accepted by its channel"),
        (lambda b: replace(b, posts={k: w for k, w in b.posts.items() if k != (2, "x")}), "posted on every channel"),
        (lambda b: replace(b, posts={k: w for k, w in b.posts.items() if k != (2, "x")}), "known to our database"),
        (lambda b: replace(b, accepted=[*b.accepted, AcceptedPost("x", None, "no number")]), "known to our database"),
        (lambda b: replace(b, accepted=[*b.accepted, AcceptedPost("x", 7, "words 7")]), "known to our database"),
        (
            lambda b: replace(b, accepted=[AcceptedPost("x", 1, "other words"), *b.accepted[1:]]),
            "the text that our database holds",
        ),
        (lambda b: replace(b, posts=b.posts | {(9, "feed"): "words"}), "is of an incident and a channel"),
    ],
)
def test_what_is_lost_doubled_or_does_not_add_up_is_named(cook: Callable[[Accounts], Accounts], claim: str) -> None:
    problems = audit(cook(books()))
    assert any(claim in problem for problem in problems), problems


def test_dead_letter_excuses_only_its_own_effect() -> None:
    whole = books()
    waiting = replace(
        whole,
        dead=[*whole.dead, Dead("captioned.post", "c", "x: rate limit is used up (delivery 8 of 8)")],
        posts={post: words for post, words in whole.posts.items() if post != (2, "x")},
    )
    assert audit(waiting) == []
    assert audit(replace(waiting, dead=[*whole.dead, Dead("captioned.post", "a", "x: rate limit is used up")]))
    assert audit(without("c")(replace(waiting, incidents={1: whole.incidents[1]})))


def test_incident_that_late_events_split_is_counted() -> None:
    near = replace(
        books(), incidents={1: Seen("fire", "gate", 1, 0, SECOND), 2: Seen("fire", "gate", 1, 6 * SECOND, 6 * SECOND)}
    )
    assert count_splits(near, quiet_s=5) == 1
    assert count_splits(near, quiet_s=4) == 0
