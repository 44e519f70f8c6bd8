"""Acknowledgements in groups: in any order, the broker hears of each message once, and of none that is open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.broker import BrokerError
from functions.broker.rabbit_acks import AckBatcher


class Channel:
    """What RabbitMQ does with answers, strictly: one for a message that is not open closes the channel."""

    def __init__(self, count: int) -> None:
        self.open = set(range(1, count + 1))
        self.acked: set[int] = set()
        self.requeued: set[int] = set()
        self.is_lost = False
        self.frames = 0

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        await self._receive()
        answered = {t for t in self.open if t <= tag} if multiple else self.open & {tag}
        assert answered, f"PRECONDITION_FAILED: unknown delivery tag {tag}"
        self.open -= answered
        self.acked |= answered

    async def basic_nack(self, tag: int, requeue: bool, wait: bool = True) -> None:
        await self._receive()
        assert tag in self.open, f"PRECONDITION_FAILED: unknown delivery tag {tag}"
        self.open.discard(tag)
        self.requeued.add(tag)

    async def _receive(self) -> None:
        await asyncio.sleep(0)
        if self.is_lost:
            raise ConnectionResetError("the connection was lost")
        self.frames += 1


def answers(channel: Any, lost: list[str]) -> AckBatcher:
    return AckBatcher(channel, lost.append)


@given(st.data())
def test_each_message_is_settled_once_in_any_order(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    order = data.draw(st.permutations(range(1, count + 1)))
    order = order[: data.draw(st.integers(0, count))]
    requeued = {tag for tag in order if data.draw(st.booleans())} if data.draw(st.booleans()) else set()
    pauses = {tag for tag in order if data.draw(st.integers(0, 4)) == 0}

    async def answer() -> None:
        channel, lost = Channel(count), list[str]()
        writing = answers(channel, lost)
        for tag in order:
            await writing.note(tag, requeue=tag in requeued)
            if tag in pauses:
                await asyncio.sleep(0)
        await writing.flush()
        assert channel.requeued == requeued
        assert channel.acked == set(order) - requeued
        assert writing.unwritten == 0
        assert not lost

    asyncio.run(answer())


async def test_a_run_of_acknowledgements_is_one_frame() -> None:
    channel = Channel(20)
    writing = answers(channel, [])
    for tag in range(1, 21):
        await writing.note(tag)
    await writing.flush()
    assert channel.acked == set(range(1, 21))
    assert channel.frames < 20


async def test_what_cannot_be_written_is_told_and_counted() -> None:
    channel, lost = Channel(3), list[str]()
    channel.is_lost = True
    writing = answers(channel, lost)
    await writing.note(1)
    await writing.note(2)
    with pytest.raises(BrokerError, match="will be delivered again"):
        await writing.flush()
    assert (writing.unwritten, lost) == (2, ["the connection was lost"])
    with pytest.raises(BrokerError, match="will be delivered again"):
        await writing.note(3, requeue=True)


async def test_whoever_stops_waiting_does_not_stop_the_writing() -> None:
    channel = Channel(2)
    writing = answers(channel, [])
    noting = asyncio.create_task(writing.note(1, requeue=True))
    await asyncio.sleep(0)
    noting.cancel()
    await asyncio.gather(noting, return_exceptions=True)
    await writing.flush()
    assert channel.requeued == {1}
