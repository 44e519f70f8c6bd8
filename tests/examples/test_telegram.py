"""Telegram as a channel of another package: found by its entry point, one message for each incident."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from functions import Captioned
from functions.runtime import StartError
from functions.signature import Signer
from functions.testing import PICTURE, make_event, run_function
from tests.examples.conftest import EXAMPLES

TOKEN = "123456:telegram-secret-token"


class TelegramDouble:
    """The Bot API's rules: the token in the path, limits of length, errors as JSON with `parameters.retry_after`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.faults: list[tuple[int, dict[str, Any]]] = []
        self.url = ""

    async def send(self, request: web.Request) -> web.Response:
        if request.match_info["bot"] != f"bot{TOKEN}":
            return self._refuse(401, "Unauthorized")
        if self.faults:
            status, parameters = self.faults.pop(0)
            return self._refuse(status, "by rule", parameters)
        method = request.match_info["method"]
        said: dict[str, Any] = dict(await request.post()) if method == "sendPhoto" else await request.json()
        if said["chat_id"] != "@alerts":
            return self._refuse(400, "Bad Request: chat not found")
        words = said["caption" if method == "sendPhoto" else "text"]
        if not words or len(words) > (1024 if method == "sendPhoto" else 4096):
            return self._refuse(400, "Bad Request: message caption is too long")
        photo = said["photo"].file.read() if method == "sendPhoto" else None
        self.messages.append({"words": words, "photo": photo})
        return web.json_response({"ok": True, "result": {"message_id": len(self.messages)}})

    def _refuse(self, status: int, said: str, parameters: dict[str, Any] | None = None) -> web.Response:
        body = {"ok": False, "error_code": status, "description": said, "parameters": parameters or {}}
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")


@pytest.fixture
async def telegram(monkeypatch, tmp_path, database_url) -> AsyncIterator[TelegramDouble]:
    double, app = TelegramDouble(), web.Application()
    app.router.add_post("/{bot}/{method}", double.send)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    # As pip installs it: the module on the path, and the entry point of its pyproject in its metadata.
    entry = tomllib.loads((EXAMPLES / "telegram/pyproject.toml").read_text())["project"]["entry-points"]
    about = tmp_path / "bongsu_telegram-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bongsu-telegram\nVersion: 0.1.0\n")
    ((group, named),) = entry.items()
    (about / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in named.items()))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLES / "telegram"))
    for name, value in {
        "CHANNELS": "feed,telegram", "TELEGRAM_TOKEN": TOKEN, "TELEGRAM_CHAT": "@alerts",
        "TELEGRAM_API_URL": double.url, "DATABASE_URL": database_url, "SNAPSHOT_URL": str(tmp_path / "snapshots"),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"BONGSU_{name}", value)
    yield double
    await runner.cleanup()


def signed_caption() -> Captioned:
    """An event of the captioner, with its signature: the poster accepts no other."""
    return Signer.from_environment().sign(make_event(Captioned))


async def test_one_incident_is_one_message_with_its_picture(telegram):
    outcome = await run_function("notify.post", signed_caption(), signed_caption(), timeout_s=60)
    assert len(outcome.handled) == 2 and not outcome.retried
    (message,) = telegram.messages
    assert message["photo"] == PICTURE and "Fire at Sinchon Market." in message["words"]


async def test_telegram_is_not_asked_before_the_time_it_names(telegram):
    telegram.faults = [(429, {"retry_after": 47})]
    outcome = await run_function("notify.post", signed_caption(), timeout_s=60)
    assert 46 < outcome.retried[0].after_s < 58 and "telegram: refused: 429 by rule" in outcome.retried[0].reason
    assert not telegram.messages


async def test_words_go_out_alone_where_the_picture_is_refused(telegram):
    telegram.faults = [(400, {})]
    await run_function("notify.post", signed_caption(), timeout_s=60)
    assert telegram.messages[0]["photo"] is None


async def test_missing_token_is_one_clear_line(telegram, monkeypatch):
    monkeypatch.delenv("BONGSU_TELEGRAM_TOKEN")
    with pytest.raises(StartError, match="BONGSU_TELEGRAM_TOKEN is not set: set it, or BONGSU_TELEGRAM_TOKEN_FILE"):
        await run_function("notify.post", signed_caption())


async def test_wrong_token_is_refused_and_shown_by_no_message(telegram, monkeypatch):
    monkeypatch.setenv("BONGSU_TELEGRAM_TOKEN", "1:wrong-token")
    outcome = await run_function("notify.post", signed_caption(), timeout_s=60)
    assert "telegram: refused: 401 Unauthorized" in outcome.retried[0].reason
    assert "wrong-token" not in str(outcome)
