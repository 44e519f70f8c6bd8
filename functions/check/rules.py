"""The rules that a function keeps, in any language, and how the suite finds out; `cli.py` runs them in this order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions.check.proxy import BrokerProxy
from functions.check.site import Seen, Site, event
from functions.check.subject import Subject
from functions.event import WIRE_VERSION
from functions.topology import queue

_BACKLOG = 400
_AWAY_S = 2.0
_CLOUD_EVENTS = ("specversion", "id", "source", "type", "subject", "time")


class BrokenRuleError(Exception):
    """A rule does not hold; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a rule works with."""

    site: Site
    subject: Subject
    proxy: BrokerProxy
    retry: dict[str, Any]
    """Changes to an event that have the function retry it."""
    reject: dict[str, Any]
    """Changes to an event that have the function reject it."""


async def answers(setup: Setup) -> None:
    """publishes what it answers, with headers that others can read"""
    site, asked = setup.site, event()
    await site.send(asked)
    _require(await site.until(lambda: bool(site.outputs), 30), f"nothing of type {site.publishes!r} was published")
    (answer, *more), fields = site.outputs, site.outputs[0].fields
    _require(not more, f"one event had {1 + len(more)} answers")
    wanted = {"id": asked["id"], "type": site.publishes, "version": WIRE_VERSION}
    for name, value in wanted.items():
        _require(fields.get(name) == value, f"the answer's {name} is {fields.get(name)!r}, not {value!r}")
    missing = [name for name in _CLOUD_EVENTS if not str(answer.headers.get(f"cloudEvents:{name}", ""))]
    _require(not missing, f"no header cloudEvents:{', cloudEvents:'.join(missing)}")
    for name in ("id", "type"):
        _require(
            answer.headers[f"cloudEvents:{name}"] == wanted[name],
            f"header cloudEvents:{name} is another than in the body",
        )
    _require(answer.headers["cloudEvents:specversion"] == "1.0", "cloudEvents:specversion is not 1.0")
    _require(
        answer.content_type == "application/msgpack",
        f"content type is {answer.content_type!r}, not application/msgpack",
    )
    _require(answer.is_persistent, "the message is not persistent (delivery mode 2)")
    stages = fields.get("trace") or [{}]
    _require(bool(stages[-1].get("name")), "no stage of its own at the end of `trace`")
    _require(isinstance(stages[-1].get("done_at"), datetime), "times are MessagePack timestamps (extension -1)")
    await _settled(site)


async def ignores_unknown_fields(setup: Setup) -> None:
    """ignores fields that it does not know"""
    later = {"from_a_later_release": {"a": [1, None]}, "place": {"floor": 3}}
    asked = event(**later)
    asked["detections"] = [{**one, "track": 7} for one in asked["detections"]]
    await setup.site.send(asked)
    await _answered(setup.site, [asked["id"]])


async def retries_with_delay(setup: Setup) -> None:
    """retries with a delay, and counts deliveries"""
    site, asked = setup.site, event(**setup.retry)
    await site.send(asked)
    _require(await site.until(lambda: len(site.retries) >= 2, 30), f"{len(site.retries)} of 2 retries within 30 s")
    for number, retry in enumerate(site.retries[:2], 1):
        _require_kept(retry, asked)
        attempts = retry.headers.get("x-bongsu-attempts")
        _require(attempts == number, f"x-bongsu-attempts is {attempts!r} in retry {number}, not {number}")
    _require(not site.outputs, "a retried event was answered")


async def gives_up_at_the_limit(setup: Setup) -> None:
    """makes the last retry a dead letter with its reason"""
    site, asked, limit = setup.site, event(**setup.retry), queue(setup.site.queue).delivery_limit or 0
    await site.send(asked, attempts=limit - 1)
    _require(await site.until(lambda: bool(site.dead)), f"no dead letter after delivery {limit}")
    _require_dead(site, site.dead[0], attempts=limit)
    _require(not site.retries, f"delivery {limit} was retried")


async def rejects_with_a_reason(setup: Setup) -> None:
    """rejects to the dead letters with a reason"""
    site, asked = setup.site, event(**setup.reject)
    await site.send(asked)
    _require(await site.until(lambda: bool(site.dead)), "no dead letter")
    _require_kept(site.dead[0], asked)
    _require_dead(site, site.dead[0], attempts=1)


async def survives_what_is_no_event(setup: Setup) -> None:
    """makes what is not an event a dead letter, and goes on"""
    site = setup.site
    garbage = [b"\xc1\xff", b"", b"\x93\x01\x02\x03", b"{}"]
    for body in garbage:
        await site.send(body)
    await site.send(event(version=WIRE_VERSION + 1))
    _require(
        await site.until(lambda: len(site.dead) == len(garbage) + 1),
        f"{len(site.dead)} of {len(garbage) + 1} became dead letters (the last was of version {WIRE_VERSION + 1})",
    )
    for letter in site.dead:
        _require_dead(site, letter, attempts=1)
    asked = event()
    await site.send(asked)
    await _answered(site, [asked["id"]])


async def keeps_what_nobody_reads(setup: Setup) -> None:
    """waits for confirms: an answer that no queue takes is not lost"""
    site, asked = setup.site, event()
    await site.unroute()
    try:
        await site.send(asked)
        seen = await site.until(lambda: bool(site.retries or site.dead))
        _require(seen, "its answer was returned by the broker, and the event was neither retried nor a dead letter")
    finally:
        await site.route()
    if not site.dead:
        await _answered(site, [asked["id"]])


async def acks_after_its_work(setup: Setup) -> None:
    """acknowledges after its work: kill -9 loses nothing"""
    site = setup.site
    ids = await _backlog(site)
    _require(await site.until(lambda: len(site.outputs) >= 5), "it does not answer")
    await setup.subject.kill()
    await setup.subject.start()
    await _answered(site, ids, 60)


async def survives_a_restart_of_the_broker(setup: Setup) -> None:
    """survives a restart of the broker"""
    site = setup.site
    ids = await _backlog(site)
    _require(await site.until(lambda: len(site.outputs) >= 5), "it does not answer")
    await setup.proxy.cut()
    await asyncio.sleep(_AWAY_S)
    await setup.proxy.open()
    ids += await _backlog(site)
    # A function that ends where its connection does is started again by Kubernetes.
    for _ in range(600):
        await setup.subject.start()
        if await site.until(lambda: not set(ids) - _answers(site), 0.1):
            return
    raise BrokenRuleError(f"{len(set(ids) - _answers(site))} of {len(ids)} events were not answered within 60 s")


async def drains_on_sigterm(setup: Setup) -> None:
    """on SIGTERM finishes what it has begun, gives back the rest and ends with status 0"""
    site = setup.site
    ids = await _backlog(site)
    _require(await site.until(lambda: len(site.outputs) >= 5), "it does not answer")
    status = await setup.subject.stop()
    _require(status is not None, "it still ran 35 s after SIGTERM, and was killed")
    _require(status == 0, f"it ended with status {status}")
    await asyncio.sleep(0.5)
    left, done = await site.ready(), _answers(site)
    again = len(site.outputs) - len(done)
    _require(left + len(done) >= len(ids), f"{len(ids) - left - len(done)} events are lost")
    _require(not site.retries and not site.dead, "what it gave back was counted as failed")
    await setup.subject.start()
    await _answered(site, ids, 60)
    _require(again == 0 and len(site.outputs) == len(ids), f"{len(site.outputs) - len(ids)} events were handled twice")


Rule = Callable[[Setup], Awaitable[None]]
RULES: tuple[Rule, ...] = (
    answers,
    ignores_unknown_fields,
    retries_with_delay,
    gives_up_at_the_limit,
    rejects_with_a_reason,
    survives_what_is_no_event,
    keeps_what_nobody_reads,
    acks_after_its_work,
    survives_a_restart_of_the_broker,
    drains_on_sigterm,
)


async def _backlog(site: Site) -> list[str]:
    events = [event() for _ in range(_BACKLOG)]
    await asyncio.gather(*map(site.send, events))
    return [one["id"] for one in events]


def _answers(site: Site) -> set[str]:
    return {str(one.fields.get("id")) for one in list(site.outputs)}


async def _answered(site: Site, ids: list[str], timeout_s: float = 20.0) -> None:
    wanted = set(ids)
    if not await site.until(lambda: len(site.outputs) >= len(wanted) and not wanted - _answers(site), timeout_s):
        raise BrokenRuleError(
            f"{len(wanted - _answers(site))} of {len(ids)} events were not answered in {timeout_s:g} s"
        )
    await _settled(site)


async def _settled(site: Site) -> None:
    _require(not await site.settle(), "answered events wait in the queue still")


def _require_kept(seen: Seen, asked: dict[str, Any]) -> None:
    _require(seen.fields == asked, "the body was changed")
    # Where a queue's name is the routing key, only this header says what the event is.
    kind = seen.headers.get("x-bongsu-routing-key")
    _require(kind == asked["type"], f"header x-bongsu-routing-key is {kind!r}, not {asked['type']!r}")
    _require(seen.headers.get("cloudEvents:id") == asked["id"], "the headers of the event are gone")
    _require(seen.is_persistent, "the message is not persistent (delivery mode 2)")


def _require_dead(site: Site, letter: Seen, *, attempts: int) -> None:
    of = letter.headers
    _require(of.get("x-bongsu-queue") == site.queue, f"header x-bongsu-queue is {of.get('x-bongsu-queue')!r}")
    _require(bool(str(of.get("x-bongsu-reason", "")).strip()), "header x-bongsu-reason is empty")
    _require(of.get("x-bongsu-attempts") == attempts, f"header x-bongsu-attempts is {of.get('x-bongsu-attempts')!r}")
    try:
        datetime.fromisoformat(str(of.get("x-bongsu-dead-at")))
    except ValueError:
        raise BrokenRuleError(f"header x-bongsu-dead-at is {of.get('x-bongsu-dead-at')!r}, not ISO 8601") from None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenRuleError(otherwise)
