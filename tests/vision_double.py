"""Doubles of servers for vision networks: they keep the documented rules of requests, with answers that a test sets.

Rules: POST /v1/chat/completions of OpenAI-compatible servers (a bearer token, `messages` of text and `image_url` parts
with a data URL of a JPEG) and POST /api/chat of Ollama (`images` in plain base64, `stream: false`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from typing import ClassVar

from aiohttp import web

from functions.jpeg import check_jpeg
from tests.doubles import Double

Say = Callable[[bytes, str], str]


class VisionDouble(Double):
    """One server. `faults` as in `Double`: a status with headers, "hang", or a text that is the whole body.

    `say` returns the content of the answer for a picture and a question; `knows_schema` is False for a server that
    refuses structured answers.
    """

    path: ClassVar[str]
    key = "vision-key"

    def __init__(self, say: Say | str = '{"answer": "yes"}', *, knows_schema: bool = True) -> None:
        super().__init__()
        self.say: Say = say if callable(say) else lambda picture, question: say
        self.knows_schema = knows_schema
        self.pictures: list[bytes] = []
        self.questions: list[str] = []
        self.at_once = self.most_at_once = 0

    def route(self, router: web.UrlDispatcher) -> None:
        router.add_post(self.path, self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._judge(request)
        finally:
            self.at_once -= 1

    async def _judge(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        try:
            picture, question = self.read(request, body)
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            return self._refuse(400, f"bad request: {error!r}")
        if "structured" in self.forms(body) and not self.knows_schema:
            return self._refuse(400, "unsupported parameter")
        fault = self.faults.pop(0) if self.faults else None
        if fault == "hang":
            await asyncio.sleep(self.slow_s)
        elif isinstance(fault, tuple):
            status, headers = fault
            self.met[str(status)] += 1
            return web.json_response({"error": {"message": "no"}}, status=status, headers=headers)
        elif isinstance(fault, str):
            return web.Response(text=fault)
        self.pictures.append(picture)
        self.questions.append(question)
        return web.json_response(self.reply(self.say(picture, question)))

    def _refuse(self, status: int, why: str) -> web.Response:
        self.met[str(status)] += 1
        return web.json_response({"error": {"message": why}}, status=status)

    def read(self, request: web.Request, body: dict) -> tuple[bytes, str]:
        raise NotImplementedError

    def forms(self, body: dict) -> set[str]:
        raise NotImplementedError

    def reply(self, content: str) -> dict:
        raise NotImplementedError


class OpenAIDouble(VisionDouble):
    path = "/v1/chat/completions"

    @property
    def base(self) -> str:
        return f"{self.url}/v1"

    def read(self, request: web.Request, body: dict) -> tuple[bytes, str]:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            raise ValueError("no valid key")
        _require(isinstance(body["model"], str) and not body.get("stream"), "model")
        system, user = body["messages"]
        _require(system["role"] == "system" and isinstance(system["content"], str), "system")
        _require(user["role"] == "user", "user")
        text, image = user["content"]
        _require(text["type"] == "text" and image["type"] == "image_url", "parts")
        kind, encoded = image["image_url"]["url"].split(",")
        _require(kind == "data:image/jpeg;base64", kind)
        if wanted := body.get("response_format"):
            _require(wanted["type"] == "json_schema" and wanted["json_schema"]["strict"] is True, "response_format")
            _require(wanted["json_schema"]["schema"]["additionalProperties"] is False, "schema")
        return _jpeg(encoded), text["text"]

    def forms(self, body: dict) -> set[str]:
        return {"structured"} if {"response_format", "max_tokens", "temperature"} & body.keys() else set()

    def reply(self, content: str) -> dict:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        return {"id": "chatcmpl-1", "object": "chat.completion", "model": "double", "choices": [choice]}


class OllamaDouble(VisionDouble):
    path = "/api/chat"

    @property
    def base(self) -> str:
        return self.url

    def read(self, request: web.Request, body: dict) -> tuple[bytes, str]:
        _require(isinstance(body["model"], str) and body["stream"] is False, "stream")
        user = body["messages"][-1]
        _require(user["role"] == "user" and isinstance(user["content"], str), "user")
        (encoded,) = user["images"]
        _require(not encoded.startswith("data:"), "plain base64")
        if "format" in body:
            _require(body["format"]["type"] == "object", "format")
        return _jpeg(encoded), user["content"]

    def forms(self, body: dict) -> set[str]:
        return {"structured"} if "format" in body else set()

    def reply(self, content: str) -> dict:
        return {"model": "double", "message": {"role": "assistant", "content": content}, "done": True}


def _jpeg(encoded: str) -> bytes:
    jpeg = base64.b64decode(encoded, validate=True)
    check_jpeg(jpeg)
    return jpeg


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} is not as documented: {json.dumps(what)}")
