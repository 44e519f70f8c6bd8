"""A Telegram chat as a channel of the poster: one message for each incident, with its mosaicked picture.

It is a package of its own, to show that a channel needs no change in Bongsu:

    pip install ./examples/telegram
    BONGSU_CHANNELS=feed,telegram BONGSU_TELEGRAM_TOKEN=… BONGSU_TELEGRAM_CHAT=@alerts python -m functions notify.post

Source: https://core.telegram.org/bots/api
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp

from functions import Caption
from functions.settings import Environment, Secret
from notify.channels import ChannelContext
from notify.posting.http import Answer, RateLimitWait, ask
from notify.posting.settings import require_address
from notify.posting.text import fit_together, join
from privacy.redact import require_redacted

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

_LIMIT = 1024
"""Most characters under a picture; without one it would be 4096, but the words are the same on every attempt."""


class TelegramSettings(Environment, frozen=True):
    """One bot, and the chat it writes in."""

    telegram_token: Secret
    """The bot's token, as @BotFather gave it."""
    telegram_chat: str = ""
    """Number of the chat, or @name of a public channel in which the bot may post."""
    telegram_api_url: Secret = Secret("https://api.telegram.org")
    """Another server than Telegram's own: a Bot API server of yours."""

    def __post_init__(self) -> None:
        require_address("BONGSU_TELEGRAM_API_URL", self.telegram_api_url)
        if self.telegram_token and not self.telegram_chat:
            raise ValueError("BONGSU_TELEGRAM_CHAT is not set: set it to the chat's number or @name")


class Telegram:
    """Telegram has no idempotency keys: a message whose answer is lost may be there twice, once for each attempt."""

    name: ClassVar[str] = "telegram"
    Settings: ClassVar[type[Environment]] = TelegramSettings
    sends: ClassVar[bool] = True

    def __init__(self, settings: TelegramSettings, context: ChannelContext) -> None:
        self._session = context.session
        self._languages = context.languages
        self._chat = settings.telegram_chat
        self._url = f"{settings.telegram_api_url.reveal().rstrip('/')}/bot{settings.telegram_token.reveal()}"
        self._wait = RateLimitWait()

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """Both languages in what goes under a picture."""
        return fit_together(caption, self._languages, _LIMIT)

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Send the picture with the words under it, or the words alone where there is no picture or it is refused."""
        self._wait.check()
        words = join(text, self._languages)
        if snapshot is not None:
            require_redacted(snapshot)
            form = aiohttp.FormData({"chat_id": self._chat, "caption": words})
            form.add_field("photo", snapshot.jpeg, filename="alert.jpg", content_type="image/jpeg")
            answer = await self._send("sendPhoto", data=form)
            if answer.status != 400:
                return self._judge(answer)
        return self._judge(await self._send("sendMessage", json={"chat_id": self._chat, "text": words}))

    async def _send(self, method: str, **request: Any) -> Answer:
        answer = await ask(self._session, self._wait, "POST", f"{self._url}/{method}", **request)
        # Telegram says how long to wait, and why, in its own words.
        parameters = answer.json.get("parameters")
        wait_s = parameters.get("retry_after") if isinstance(parameters, dict) else None
        headers = dict(answer.headers) if wait_s is None else {**answer.headers, "Retry-After": str(wait_s)}
        return Answer(answer.status, headers, {**answer.json, "detail": answer.json.get("description")})

    def _judge(self, answer: Answer) -> str:
        self._wait.judge(answer)
        result = answer.json.get("result")
        number = result.get("message_id") if isinstance(result, dict) else None
        if number is None:
            # A proxy's own page, or an answer that was cut.
            raise self._wait.failed(f"answer names no message: {answer.said}")
        return f"{self._chat}/{number}"
