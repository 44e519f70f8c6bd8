"""An optional sentence of an image-captioning network, used only if it is consistent and describes no person.

Off unless BONGSU_CAPTION_MODEL names a model: a folder, or an id on the hub, of any network that transformers lists for
"image to text", such as BLIP. It needs the extra `describe`, and gets the mosaicked picture, never the frame.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Mapping
from typing import Any

import structlog

from functions.event import HazardSeen
from functions.hazards import KINDS
from functions.reasons import one_line
from functions.settings import Environment, read
from privacy.redact import Redacted

log = structlog.get_logger()

_WORDS_MAX = 24
_TOKENS_MAX = 32


class Settings(Environment, frozen=True):
    """The captioning network, an optional extra."""

    caption_model: str = ""
    """Folder or hub id of the network; empty for none."""
    caption_timeout_s: float = 5.0
    """Seconds after which a sentence is left out."""

    def __post_init__(self) -> None:
        # A handler has 20 s, and redaction needs some of them.
        if not 0.1 <= self.caption_timeout_s <= 12:
            raise ValueError(f"BONGSU_CAPTION_TIMEOUT_S must be 0.1 to 12 seconds, got {self.caption_timeout_s}")


class DescribeError(Exception):
    """The network cannot be loaded; captions go without its sentence."""


class Describer:
    """One captioning network on the CPU, which describes one picture at a time.

    Raises:
        DescribeError: torch, transformers or the model is missing, or cannot be used.
    """

    def __init__(self, model: str) -> None:
        # huggingface_hub reads this when it is imported.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        try:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            self._processor: Any = AutoProcessor.from_pretrained(model, use_fast=False)
            self._model: Any = AutoModelForImageTextToText.from_pretrained(model, use_safetensors=True).eval()
        except Exception as error:  # transformers raises OSError, ValueError, ImportError and others
            raise DescribeError(f"BONGSU_CAPTION_MODEL={model}: {_explain(error)}") from error
        self._lock = threading.Lock()

    def describe(self, picture: Redacted) -> str:
        """The network's sentence for a picture; empty while it is still describing another.

        Raises:
            DescribeError: the network failed.
        """
        if not self._lock.acquire(blocking=False):
            return ""
        try:
            return self._describe(picture)
        except Exception as error:  # as above
            raise DescribeError(_explain(error)) from error
        finally:
            self._lock.release()

    def _describe(self, picture: Redacted) -> str:
        import cv2
        import numpy as np
        import torch

        image = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DescribeError("the picture cannot be decoded")
        inputs = self._processor(images=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), return_tensors="pt")
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=_TOKENS_MAX, do_sample=False)
        return str(self._processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    return read(Settings)


async def remark_on(
    event: HazardSeen, picture: Redacted, counts: Mapping[str, int], describer: Describer, timeout_s: float
) -> str:
    """The network's sentence for a caption; empty if it is late, fails, or contains words that are not allowed."""
    try:
        # The thread cannot be stopped: a late sentence is discarded, and until then `describe` returns "".
        async with asyncio.timeout(timeout_s):
            sentence = await asyncio.to_thread(describer.describe, picture)
    except (DescribeError, TimeoutError) as error:
        log.warning("description_left_out", event_id=event.id, reason=str(error) or f"took more than {timeout_s:g} s")
        return ""
    labels = {detection.label for detection in event.detections}
    return (
        f"A captioning network sees: {sentence.rstrip('.').lower()}." if is_grounded(sentence, counts, labels) else ""
    )


def is_grounded(sentence: str, counts: Mapping[str, int], labels: set[str]) -> bool:
    """Whether each word of a sentence is allowed, and each thing in it was detected in the number that it states.

    It is a list of allowed words, not of forbidden ones: words for sex, age, race or identity are not in it, in any
    language or spelling; nor are numbers, negations or names.

    Args:
        said: the network's sentence.
        counts: how many of each thing were counted.
        labels: labels of the detections, hazards included.
    """
    words = re.findall(r"\w+", sentence.lower())
    if not 2 <= len(words) <= _WORDS_MAX or re.search(r"[^a-zA-Z ,.\-]", sentence):
        return False
    return any(word in _THINGS for word in words) and all(_may_say(word, counts, labels) for word in words)


def _may_say(word: str, counts: Mapping[str, int], labels: set[str]) -> bool:
    if word in _HAZARD_WORDS:
        return _HAZARD_WORDS[word] in labels
    if word in _THINGS:
        kinds, at_least = _THINGS[word]
        return sum(counts.get(kind, 0) for kind in kinds) >= at_least
    return word in _PLAIN


_VEHICLES = ("car", "truck", "bus", "motorcycle", "vehicle")
# The label that a word stands for, and the smallest count for which it is true.
_THINGS: dict[str, tuple[tuple[str, ...], int]] = {
    "person": (("person",), 1), "people": (("person",), 2), "persons": (("person",), 2),
    "car": (("car",), 1), "cars": (("car",), 2), "truck": (("truck",), 1), "trucks": (("truck",), 2),
    "bus": (("bus",), 1), "buses": (("bus",), 2), "motorcycle": (("motorcycle",), 1),
    "motorcycles": (("motorcycle",), 2), "bicycle": (("bicycle",), 1), "bicycles": (("bicycle",), 2),
    "vehicle": (_VEHICLES, 1), "vehicles": (_VEHICLES, 2),
}  # fmt: skip
_HAZARD_WORDS = {word: hazard for hazard, kind in KINDS.items() for word in kind.claims}
# Function words, surroundings, and visible facts that do not judge a person.
_PLAIN = frozenset(
    re.findall(
        r"\w+",
        "a an the is are and of on in at by near next to with from over under behind front beside along there "
        "street road highway intersection crossing crosswalk sidewalk lane bridge tunnel parking lot garage driveway "
        "building buildings house wall window door floor room hallway store stairs fence tree trees grass field sky "
        "water sign light lights traffic standing walking parked driving stopped sitting lying moving down side middle "
        "corner day night daytime",
    )
)


def _explain(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")
