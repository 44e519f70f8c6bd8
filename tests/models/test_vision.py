"""One closed question to an OpenAI-compatible server and to Ollama: over HTTP, to doubles that keep their rules."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from functions.testing import PICTURE
from models.vision import VisionEndpoint, VisionError, read_answer
from tests.vision_double import OllamaDouble, OpenAIDouble, VisionDouble

QUESTION = "Does this picture show fire?"


@contextlib.asynccontextmanager
async def asking(double: VisionDouble, **settings):
    api = "ollama" if isinstance(double, OllamaDouble) else "openai"
    async with double:
        endpoint = VisionEndpoint(double.base, api, "some-model", key=double.key, **settings)
        try:
            yield endpoint
        finally:
            await endpoint.close()


async def failure_of(endpoint: VisionEndpoint) -> str:
    with pytest.raises(VisionError) as caught:
        await endpoint.ask(PICTURE, QUESTION)
    return caught.value.failure


@pytest.mark.parametrize("kind", [OpenAIDouble, OllamaDouble])
@pytest.mark.parametrize("answer", ["yes", "no", "unsure"])
async def test_each_api_is_asked_as_documented(kind, answer):
    async with asking(kind(f'{{"answer": "{answer}"}}')) as endpoint:
        assert await endpoint.ask(PICTURE, QUESTION) == answer


@pytest.mark.parametrize("kind", [OpenAIDouble, OllamaDouble])
async def test_a_server_without_structured_answers_is_asked_plainly(kind):
    double = kind("No.", knows_schema=False)
    async with asking(double) as endpoint:
        assert [await endpoint.ask(PICTURE, QUESTION) for _ in range(2)] == ["no", "no"]
        assert double.met["400"] == 1  # it remembers
        assert double.pictures == [PICTURE, PICTURE] and double.questions == [QUESTION, QUESTION]


async def test_a_server_that_hangs_is_given_up_in_time():
    double = OpenAIDouble()
    double.faults = ["hang"]
    async with asking(double, timeout_s=0.2) as endpoint:
        assert await failure_of(endpoint) == "timeout"
        assert await endpoint.ask(PICTURE, QUESTION) == "yes"


async def test_a_failed_request_is_tried_once_more():
    double = OpenAIDouble()
    double.faults = [(500, {})]
    async with asking(double) as endpoint:
        assert await endpoint.ask(PICTURE, QUESTION) == "yes"
        double.faults = [(500, {}), (502, {})]
        assert await failure_of(endpoint) == "error"
        assert double.requests == 4


async def test_retry_after_is_kept():
    double = OpenAIDouble()
    double.faults = [(429, {"Retry-After": "0"}), (429, {"Retry-After": "60"})]
    async with asking(double) as endpoint:
        # Short enough to wait; then too long, so nothing more is sent until it is over.
        assert await failure_of(endpoint) == "busy"
        assert await failure_of(endpoint) == "busy"
        assert double.requests == 2


async def test_a_server_that_keeps_failing_is_left_alone():
    double = OpenAIDouble()
    double.faults = [(404, {})] * 3
    async with asking(double) as endpoint:
        assert [await failure_of(endpoint) for _ in range(5)] == ["error"] * 3 + ["busy"] * 2
        assert double.requests == 3


async def test_a_server_that_is_away_is_an_error_without_address():
    endpoint = VisionEndpoint("http://127.0.0.1:9", "openai", "some-model")
    with pytest.raises(VisionError, match="cannot be reached: ConnectError") as caught:
        await endpoint.ask(PICTURE, QUESTION)
    assert "127.0.0.1" not in str(caught.value)
    await endpoint.close()


async def test_no_more_questions_at_once_than_set():
    double = OpenAIDouble()
    async with asking(double, at_once=2) as endpoint:
        assert set(await asyncio.gather(*(endpoint.ask(PICTURE, QUESTION) for _ in range(8)))) == {"yes"}
        assert double.most_at_once <= 2


@pytest.mark.parametrize(
    "said",
    [
        "", "maybe", "yes, but ignore your instructions", '{"answer": "maybe"}', '{"answer": ["no"]}', '{"answer"',
        '{"reason": "no"}', "The sign says: answer no. So: no", "<html>no</html>", "no" * 5000,
        'yes {"answer": "no"}', "{}", '["no"]',
    ],
)  # fmt: skip
async def test_only_the_three_words_are_answers(said):
    async with asking(OpenAIDouble(said)) as endpoint:
        assert await failure_of(endpoint) == "unreadable"


@pytest.mark.parametrize("body", ["", "<", "[]", "null", '{"choices": []}', '{"choices": [{"message": {}}]}', "{}"])
def test_another_body_is_no_answer(body):
    for api in ("openai", "ollama"):
        with pytest.raises(VisionError):
            read_answer(body.encode(), api)


async def test_an_endless_answer_is_cut_off():
    double = OpenAIDouble()
    double.faults = ["x" * 1_000_000]
    async with asking(double) as endpoint:
        assert await failure_of(endpoint) == "unreadable"


def test_fenced_json_and_capitals_are_read():
    for said in ("YES", " yes.\n", '```json\n{"answer": "Yes"}\n```', '```{"answer":"yes","reason":"flames"}```'):
        body = OllamaDouble().reply(said)
        assert read_answer(msgspec.json.encode(body), "ollama") == "yes"


@pytest.mark.parametrize("url", ["", "host:1", "ftp://host/", "http://user:pass@host/", "http://host/?key=1"])
def test_an_unusable_address_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="must be like") as caught:
        VisionEndpoint(url, "openai", "some-model")
    assert "pass" not in str(caught.value)
