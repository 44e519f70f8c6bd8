"""A Telegram chat as a channel of the poster: one message for each incident, with its mosaicked picture.

It is a separate package, to show that a channel needs no change in Bongsu:

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
"""The most characters under a picture. Without one it would be 4096, but the text is the same at every attempt."""


class TelegramSettings(Environment, frozen=True):
    """One bot, and the chat in which it posts."""

    telegram_token: Secret
    """The bot's token, from @BotFather."""
    telegram_chat: str = ""
    """Number of the chat, or @name of a public channel in which the bot may post."""
    telegram_api_url: Secret = Secret("https://api.telegram.org")
    """Your own Bot API server, in place of Telegram's."""

    def __post_init__(self) -> None:
        require_address("BONGSU_TELEGRAM_API_URL", self.telegram_api_url)
        if self.telegram_token and not self.telegram_chat:
            raise ValueError("BONGSU_TELEGRAM_CHAT is not set: set it to the chat's number or @name")


class Telegram:
    """One chat. Telegram has no idempotency keys: if the answer is lost, the message may be posted twice."""

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
        """Fit the languages under a picture."""
        return fit_together(caption, self._languages, _LIMIT)

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Send the picture with the text under it, or only the text if there is no picture or it is refused."""
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
        # Telegram has its own fields for the waiting time and the reason.
        parameters = answer.json.get("parameters")
        wait_s = parameters.get("retry_after") if isinstance(parameters, dict) else None
        headers = dict(answer.headers) if wait_s is None else {**answer.headers, "Retry-After": str(wait_s)}
        return Answer(answer.status, headers, {**answer.json, "detail": answer.json.get("description")})

    def _judge(self, answer: Answer) -> str:
        self._wait.judge(answer)
        result = answer.json.get("result")
        number = result.get("message_id") if isinstance(result, dict) else None
        if number is None:
            # A proxy's page, or a truncated answer.
            raise self._wait.failed(f"the answer has no id of a message: {answer.error_text}")
        return f"{self._chat}/{number}"
