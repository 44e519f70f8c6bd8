"""Posts through Apprise, which speaks to more than a hundred services; each target is a channel of its own."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Self

import structlog

from functions import catalogue
from functions.event import Caption, Hazard, Place
from functions.settings import Environment, Secret, SettingsError
from notify.channels import ChannelContext
from notify.posting.http import Answer, RateLimitWait
from notify.posting.settings import require_written
from notify.posting.targets import Target, read_targets
from notify.posting.text import defuse, fit_together, join
from privacy.drawn import require_public

if TYPE_CHECKING:
    from privacy.drawn import Drawn
    from privacy.redact import Redacted
    from store.records import Incident

log = structlog.get_logger()

_LIMIT = 1000
"""Most characters, also where a service takes more: what is longer is not read."""
_STATUS = re.compile(r"error=(\d{3})\b")
_failures: ContextVar[list[str] | None] = ContextVar("apprise_failures", default=None)


class AppriseSettings(Environment, frozen=True):
    """Targets of Apprise: one address, or a file that lists many."""

    apprise_url: Secret = Secret("")
    """Apprise's address of one target, such as `tgram://TOKEN/CHAT`, which is sent every alert."""
    apprise_config: str = ""
    """YAML file of targets, each with its own classes and area (docs/channels.md)."""

    def __post_init__(self) -> None:
        if self.apprise_url and self.apprise_config:
            raise ValueError("BONGSU_APPRISE_URL and BONGSU_APPRISE_CONFIG are both set: keep one")


class Apprise:
    """One target. Claims, retries and the count of its posts are kept for each target by itself.

    Apprise has no idempotency keys: a post whose outcome is unknown is sent again, and may be there twice.
    """

    name: ClassVar[str] = "apprise"
    Settings: ClassVar[type[Environment]] = AppriseSettings
    sends: ClassVar[bool] = True

    def __init__(self, settings: AppriseSettings, context: ChannelContext, target: Target | None = None) -> None:
        import apprise

        self._target = target or Target("apprise", settings.apprise_url)
        if target is not None:
            self.name = f"apprise-{target.name}"  # type: ignore[misc]
        self._languages = self._target.languages or context.languages
        try:
            require_written(f"target {self._target.name}: languages", self._languages, context.written)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        self._pace = RateLimitWait()
        asset = apprise.AppriseAsset(app_id="Bongsu", app_desc="Bongsu", secure_logging=True)
        self._client = apprise.Apprise(asset=asset)
        _listen()
        # Not by a decorator or a file: an address must not run code or read more addresses.
        if not self._client.add(self._target.url.reveal()) or len(self._client) != 1:
            raise SettingsError(f"{self.name}: Apprise does not understand the address: see its page on the service")
        self._service = str(self._client[0].service_name)
        self._limit = min(_LIMIT, self._client[0].body_maxlen)

    @classmethod
    def open_all(cls, settings: AppriseSettings, context: ChannelContext) -> Sequence[Self]:
        """A channel for each target.

        Raises:
            SettingsError: there is none, or one cannot be used.
        """
        if not settings.apprise_config:
            if not settings.apprise_url:
                raise SettingsError("BONGSU_APPRISE_URL is not set: set it, or BONGSU_APPRISE_CONFIG to a file")
            return [cls(settings, context)]
        try:
            targets = read_targets(settings.apprise_config)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        return [cls(settings, context, target) for target in targets]

    def wants(self, hazard: Hazard, place: Place) -> bool:
        """Whether an alert of that class at that place is for this target."""
        return self._target.wants(hazard, place)

    def fit(self, caption: Caption, incident_id: int) -> Caption:
        """The target's languages, in what its service takes."""
        return fit_together(caption, self._languages, self._limit)

    async def post(
        self, incident: Incident, text: Caption, snapshot: Redacted | None, key: str, location: Drawn | None = None
    ) -> str:
        """Send the words with the pictures; what a service does with pictures is up to it."""
        import apprise
        from apprise.attachment.memory import AttachMemory

        self._pace.check()
        attached = apprise.AppriseAttachment()
        for picture, name in ((snapshot, "snapshot.jpg"), (location, "map.jpg")):
            if picture is not None:
                require_public(picture)
                # apprise's own types stop short of this class.
                memory: Any = AttachMemory
                attached.add(memory(content=picture.jpeg, name=name, mimetype="image/jpeg"))
        title = " · ".join(catalogue.name_hazard(incident.hazard, language, "title") for language in self._languages)
        failures: list[str] = []
        token = _failures.set(failures)
        try:
            # In a thread, which is left alone if it takes too long; it works in a copy of this context.
            is_sent = await asyncio.to_thread(
                self._client.notify,
                body=join(text, self._languages),
                title=f"{title}: {defuse(incident.place.name)}" if incident.place.name else title,
                body_format=apprise.NotifyFormat.TEXT,
                notify_type=apprise.NotifyType.WARNING,
                attach=attached if len(attached) else None,
            )
        finally:
            _failures.reset(token)
        self._judge(bool(is_sent), failures)
        return f"{self._service}:{key}"[:255]

    def _judge(self, is_sent: bool, failures: Sequence[str]) -> None:
        """Learn from what Apprise logged: it returns no reason.

        Raises:
            ChannelError: the service refused it.
            UnknownOutcomeError: there was no answer, or none that tells.
        """
        if is_sent:
            self._pace.judge(Answer(200, {}, {}))
            return
        statuses = [int(found[1]) for line in failures for found in _STATUS.finditer(line)]
        if statuses:
            # The last one decides: after a picture was refused the words may still be sent, or the other way round.
            self._pace.judge(Answer(statuses[-1], {}, {"detail": self._service}))
        # Of Apprise's own words only that status is used: they may hold parts of the address.
        raise self._pace.failed(f"no answer that tells whether it was sent: {self._service}")


class _Listener(logging.Handler):
    """Keeps the warnings of the post that is being sent in this context, and shows none: they may name a chat."""

    def emit(self, record: logging.LogRecord) -> None:
        lines = _failures.get()
        if lines is not None and record.levelno >= logging.WARNING:
            lines.append(record.getMessage())


def _listen() -> None:
    logger: Any = logging.getLogger("apprise")
    if not any(isinstance(handler, _Listener) for handler in logger.handlers):
        logger.addHandler(_Listener())
        logger.propagate = False
