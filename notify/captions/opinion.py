"""A second opinion on an alert before people get it: another network is asked whether it sees the hazard too.

Off unless BONGSU_OPINION_POLICY names a hazard. The network is a server (`models/vision.py`) or a file
(BONGSU_OPINION_WEIGHTS), and gets the redacted picture, never the frame. Without an answer the alert goes out, marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import structlog
from prometheus_client import Counter, Histogram

from functions.event import HazardSeen
from functions.hazards import HAZARDS, KINDS, Hazard
from functions.settings import Environment, Secret, SettingsError, read, split
from privacy.redact import Redacted, require_redacted

if TYPE_CHECKING:
    from models.vision import Answer, VisionEndpoint

log = structlog.get_logger()

opinions_total = Counter("bongsu_second_opinions_total", "Second opinions on alerts, by answer", ["type", "outcome"])
held_total = Counter("bongsu_alerts_held_total", "Alerts held back until an operator reviews them", ["type"])
opinion_seconds = Histogram(
    "bongsu_second_opinion_duration_seconds", "One second opinion", buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12)
)

Policy = Literal["off", "mark", "hold"]
Outcome = Literal["yes", "no", "unsure", "timeout", "error", "busy", "unreadable", "no_picture"]

_POLICIES: tuple[Policy, ...] = get_args(Policy)
_ANSWERS = ("yes", "no", "unsure")


class OpinionSettings(Environment, frozen=True):
    """The second opinion on alerts, off by default."""

    opinion_policy: str = ""
    """What a second opinion decides, by hazard: `fire=hold,accident=mark`; a hazard that is not named is `off`."""
    opinion_url: str = ""
    """Address of the server that is asked: `https://api.example/v1`, or `http://host:11434` for Ollama."""
    opinion_api: Literal["openai", "ollama"] = "openai"
    """What that server speaks: the API of OpenAI, as most servers do, or Ollama's."""
    opinion_model: str = ""
    """Name of a model at that server that takes pictures."""
    opinion_key: Secret = Secret("")
    """Key of that server."""
    opinion_timeout_s: float = 5.0
    """Seconds after which an alert goes out without a second opinion."""
    opinion_concurrency: int = 2
    """Most questions at once, in each replica."""
    opinion_weights: str = ""
    """A detection network in a file, asked instead of a server."""
    opinion_threshold: float = 0.25
    """Confidence from which that network counts as seeing a hazard."""

    def __post_init__(self) -> None:
        # A handler has 20 s, and redaction needs some of them.
        if not 0.1 <= self.opinion_timeout_s <= 10:
            raise ValueError(f"BONGSU_OPINION_TIMEOUT_S must be 0.1 to 10 seconds, got {self.opinion_timeout_s}")
        if not 1 <= self.opinion_concurrency <= 32:
            raise ValueError(f"BONGSU_OPINION_CONCURRENCY must be 1 to 32, got {self.opinion_concurrency}")
        if not 0 < self.opinion_threshold < 1:
            raise ValueError(f"BONGSU_OPINION_THRESHOLD must be between 0 and 1, got {self.opinion_threshold}")
        if read_policies(self.opinion_policy) and bool(self.opinion_url) == bool(self.opinion_weights):
            raise ValueError("BONGSU_OPINION_POLICY needs someone to ask: BONGSU_OPINION_URL or BONGSU_OPINION_WEIGHTS")
        if self.opinion_url and not self.opinion_model:
            raise ValueError("BONGSU_OPINION_URL needs BONGSU_OPINION_MODEL, the name of a model that takes pictures")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What came of asking."""

    outcome: Outcome
    is_held: bool = False

    @property
    def key(self) -> str:
        """The key of what the caption says of it, in the catalogue."""
        return f"caption-opinion-{self.outcome if self.outcome in _ANSWERS else 'missing'}"


class Source(Protocol):
    """Someone who answers whether a picture shows a hazard."""

    async def ask(self, picture: Redacted, hazard: Hazard) -> Answer:
        """Answer, or raise VisionError."""
        ...


@dataclass(frozen=True, slots=True)
class Server:
    """A vision network behind an HTTP API."""

    endpoint: VisionEndpoint

    async def ask(self, picture: Redacted, hazard: Hazard) -> Answer:
        """Ask the server."""
        require_redacted(picture)
        return await self.endpoint.ask(picture.jpeg, question_of(hazard))


class LocalNetwork:
    """A detection network in a file: it says yes if it detects the hazard.

    Raises:
        ModelError, ImportError: it cannot be loaded.
    """

    def __init__(self, weights: Path, threshold: float, timeout_s: float) -> None:
        from models.network import HAZARD, Network, Spec
        from models.registry import find_weights

        spec = Spec(find_weights(weights), HAZARD.labels, min_confidence=threshold, label_of=HAZARD.label_of)
        self._network, self._timeout_s = Network(spec, threads=1), timeout_s
        # One inference at a time.
        self._lock = asyncio.Lock()

    async def ask(self, picture: Redacted, hazard: Hazard) -> Answer:
        """Ask the network; one that does not know the hazard is unsure."""
        from functions.jpeg import PictureError
        from models.registry import ModelError
        from models.vision import VisionError

        require_redacted(picture)
        if hazard not in self._network.labels:
            return "unsure"
        try:
            async with asyncio.timeout(self._timeout_s), self._lock:
                sees = await asyncio.to_thread(self._sees, picture.jpeg, hazard)
        except TimeoutError:
            raise VisionError(f"took more than {self._timeout_s:g} s", "timeout") from None
        except (ModelError, PictureError) as error:
            raise VisionError(str(error), "error") from error
        return "yes" if sees else "no"

    def _sees(self, jpeg: bytes, hazard: Hazard) -> bool:
        from models.network import decode_jpeg

        return any(found.label == hazard for found in self._network.detect([decode_jpeg(jpeg)])[0])


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """Whom to ask about which hazards, and what follows."""

    policies: Mapping[Hazard, Policy]
    source: Source | None
    """None if it could not be opened: alerts go out, marked as not verified."""

    async def on(self, event: HazardSeen, picture: Redacted | None) -> Opinion | None:
        """Ask about an event's redacted picture; None if the policy asks nobody. It never fails."""
        policy = self.policies.get(event.hazard, "off")
        if policy == "off":
            return None
        outcome = await self._ask(event, picture)
        is_held = policy == "hold" and outcome == "no"
        opinions_total.labels(event.hazard, outcome).inc()
        if is_held:
            held_total.labels(event.hazard).inc()
        log.info("second_opinion_given", event_id=event.id, camera=event.camera, outcome=outcome, is_held=is_held)
        return Opinion(outcome, is_held)

    async def _ask(self, event: HazardSeen, picture: Redacted | None) -> Outcome:
        from models.vision import VisionError

        if picture is None:
            return "no_picture"
        if self.source is None:
            return "error"
        began = time.monotonic()
        try:
            return await self.source.ask(picture, event.hazard)
        except VisionError as error:
            log.warning("second_opinion_missing", event_id=event.id, camera=event.camera, reason=str(error))
            return error.failure
        finally:
            opinion_seconds.observe(time.monotonic() - began)


@contextlib.asynccontextmanager
async def open_opinion() -> AsyncIterator[SecondOpinion | None]:
    """Open whom the environment names; None where no hazard has a policy.

    Raises:
        SettingsError: a setting is invalid.
    """
    settings = read(OpinionSettings)
    policies = read_policies(settings.opinion_policy)
    if not policies:
        yield None
        return
    try:
        from models.vision import VisionEndpoint
    except ImportError as error:
        raise SettingsError(f"BONGSU_OPINION_POLICY: {error}: pip install 'bongsu[opinion]'") from None
    if settings.opinion_weights:
        yield SecondOpinion(policies, await _load(settings))
        return
    try:
        endpoint = VisionEndpoint(
            settings.opinion_url,
            settings.opinion_api,
            settings.opinion_model,
            key=settings.opinion_key.reveal(),
            timeout_s=settings.opinion_timeout_s,
            at_once=settings.opinion_concurrency,
        )
    except ValueError as error:
        raise SettingsError(f"BONGSU_OPINION_URL: {error}") from None
    try:
        yield SecondOpinion(policies, Server(endpoint))
    finally:
        await endpoint.close()


async def _load(settings: OpinionSettings) -> Source | None:
    load = partial(LocalNetwork, Path(settings.opinion_weights), settings.opinion_threshold, settings.opinion_timeout_s)
    try:
        from models.registry import ModelError

        try:
            return await asyncio.to_thread(load)
        except ModelError as error:
            log.error("second_opinion_unavailable", reason=str(error))
    except ImportError as error:
        log.error("second_opinion_unavailable", reason=f"{error}: pip install 'bongsu[detect]'")
    return None


def question_of(hazard: Hazard) -> str:
    """The one question about a hazard."""
    kind = KINDS[hazard]
    return f"Does this picture show {kind.mention.en} ({', '.join(kind.claims)})? Answer yes, no or unsure."


def read_policies(text: str) -> dict[Hazard, Policy]:
    """Policies by hazard, without those that are off.

    Raises:
        ValueError: it cannot be read; the message names the variable.
    """
    policies: dict[Hazard, Policy] = {}
    for part in split(text):
        name, _, wanted = (word.strip() for word in part.partition("="))
        hazard = next((one for one in HAZARDS if one == name), None)
        policy = next((one for one in _POLICIES if one == wanted), None)
        if hazard is None or policy is None:
            known = f"{', '.join(HAZARDS)} and {', '.join(_POLICIES)}"
            raise ValueError(f"BONGSU_OPINION_POLICY must be like fire=hold,accident=mark, of {known}, got {part!r}")
        policies[hazard] = policy
    return {hazard: policy for hazard, policy in policies.items() if policy != "off"}
