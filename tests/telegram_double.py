"""Telegram's Bot API as far as alerts use it: the token checked, its limits kept, nothing recognized as a repeat."""

from __future__ import annotations

import math

from aiohttp import web

from tests.doubles import Double


class TelegramDouble(Double):
    """One bot; Apprise's plugin is pointed at it by its class attribute `notify_url`."""

    name = "telegram"

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    @property
    def notify_url(self) -> str:
        return f"{self.url}/bot"

    def route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/bot{token}/{method}", self._call)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self.token:
            return self._refuse(401, "Unauthorized")
        said = dict(await request.post()) if request.content_type.startswith("multipart") else await request.json()
        return await self._meet(request, lambda: self._publish(request.match_info["method"], said))

    def _publish(self, method: str, said: dict) -> web.Response:
        text = str(said.get("text", said.get("caption", "")))
        if method == "sendMessage" and not 0 < len(text) <= 4096:
            return self._refuse(400, "Bad Request: message is too long")
        if method in ("sendPhoto", "sendDocument") and len(text) > 1024:
            return self._refuse(400, "Bad Request: message caption is too long")
        picture = said.get("photo", said.get("document"))
        if method != "sendMessage" and picture is None:
            return self._refuse(404, f"Not Found: {method}")
        number = next(self._numbers)
        jpeg = None if picture is None else picture.file.read()
        self.posts.append({"id": number, "chat": str(said["chat_id"]), "text": text, "jpeg": jpeg})
        self._note(None, text)
        return web.json_response({"ok": True, "result": {"message_id": number}})

    def limited(self, seconds: float) -> tuple[int, dict[str, str]]:
        return 429, {"Retry-After": str(math.ceil(seconds))}

    @staticmethod
    def _refuse(status: int, description: str) -> web.Response:
        return web.json_response({"ok": False, "error_code": status, "description": description}, status=status)
