"""Clips, short videos of what a camera sent around a burst: how they are named, and sealed on the edge node.

The edge worker makes them, the map API stores them and hands them out, and neither can open them.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from functions.sealing import SealError, new_pair, seal, unseal

SUFFIX = ".sealed"
MAGIC = b"bongsu clip 1\n"
SHARED_MAGIC = b"bongsu clip 2\n"
"""Begins a clip that several keys open, each by itself."""
BYTES_MAX = 64_000_000
"""No sealed clip is larger, whatever the settings of a node: the map API refuses it."""
KEYS_MAX = 8
"""The most keys that a clip is sealed for."""

_CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"(\d{8}T\d{9}Z)-(\d{8}T\d{9}Z)\.sealed", re.ASCII)
_HEAD_MAX = 400
_WRAPPED_BYTES = 32 + 32 + 16
"""HPKE's encapsulated key, the private key of the clip, and the tag of the cipher."""
_LONGEST = timedelta(hours=1)


@dataclass(frozen=True, slots=True, order=True)
class ClipName:
    """Which camera a clip is from, and when; times to the millisecond."""

    camera: str
    start: datetime
    end: datetime

    @property
    def file(self) -> str:
        """The name of its file, in the folder of its camera."""
        return f"{_stamp(self.start)}-{_stamp(self.end)}{SUFFIX}"

    @property
    def path(self) -> str:
        """Its path below the root of a store."""
        return f"{self.camera}/{self.file}"

    def head(self, keys: int = 1) -> bytes:
        """The readable start of its sealed file, for so many keys."""
        content: dict[str, object] = {"camera": self.camera, "file": self.file, "media": "video/mp4"}
        if keys > 1:
            content["keys"] = keys
        magic = MAGIC if keys == 1 else SHARED_MAGIC
        return magic + json.dumps(content, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """The name of which this is the path; None if it is not the path of a clip."""
        camera, _, file = path.partition("/")
        found = _NAME.fullmatch(file)
        if found is None or not is_camera(camera):
            return None
        try:
            start, end = (datetime.strptime(f"{text[:-1]}000+0000", "%Y%m%dT%H%M%S%f%z") for text in found.groups())
        except ValueError:
            return None
        return cls(camera, start, end) if timedelta(0) <= end - start <= _LONGEST else None

    def meets(self, since: datetime, until: datetime) -> bool:
        """Whether it shows any moment of that time."""
        return self.start <= until and self.end >= since


def is_camera(text: str) -> bool:
    """Whether this can be the id of a camera, and so the name of a folder."""
    return _CAMERA.fullmatch(text) is not None


def seal_clip(name: ClipName, mp4: bytes, *public_keys: bytes) -> bytes:
    """Seal a video for the holder of the private key; of several keys, for the holder of any of them.

    For several, the video is sealed once, for a key pair made for this clip alone, whose private half is sealed for
    each of them.
    """
    head = name.head(len(public_keys))
    if len(public_keys) == 1:
        return seal(mp4, head, public_keys[0])
    once, public = new_pair()
    wrapped = b"".join(seal(once, head, key).removeprefix(head) for key in public_keys)
    return head + wrapped + seal(mp4, head, public).removeprefix(head)


def unseal_clip(sealed: bytes, private_key: bytes) -> tuple[ClipName, bytes]:
    """The name and the video of a sealed clip.

    Raises:
        SealError: it is not a sealed clip, was sealed for another key, or was altered.
    """
    name, keys = _read_head(sealed)
    if name is None:
        raise SealError("this is not a sealed clip")
    head = name.head(keys)
    if keys == 1:
        return name, unseal(sealed, head, private_key)
    end = len(head) + keys * _WRAPPED_BYTES
    for start in range(len(head), end, _WRAPPED_BYTES):
        with contextlib.suppress(SealError):
            once = unseal(head + sealed[start : start + _WRAPPED_BYTES], head, private_key)
            return name, unseal(head + sealed[end:], head, once)
    raise SealError("it was sealed for other keys, or altered since")


def name_in(sealed: bytes) -> ClipName | None:
    """The name that a sealed clip states in its head; None if it is not a sealed clip."""
    return _read_head(sealed)[0]


def _read_head(sealed: bytes) -> tuple[ClipName | None, int]:
    """The name that a sealed clip states, and the number of keys that open it."""
    end = sealed.find(b"\n", len(MAGIC), _HEAD_MAX)
    if not sealed.startswith((MAGIC, SHARED_MAGIC)) or end < 0:
        return None, 1
    try:
        content = json.loads(sealed[len(MAGIC) : end])
        name = ClipName.parse(f"{content['camera']}/{content['file']}")
        keys = int(content.get("keys", 1))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, 1
    is_whole = name is not None and 1 <= keys <= KEYS_MAX and sealed.startswith(name.head(keys))
    return (name, keys) if is_whole else (None, 1)


def _stamp(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}Z"
