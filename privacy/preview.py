"""`python -m privacy.preview`: redacts the pictures with which an operator sets a camera up, as those of alerts are.

It is the last in a pipe from motion, which opens the camera, and detect, which finds the people, to the API: their
answer goes out with its `pictures` redacted, None for those withheld.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from functions.event import Detection, Frame
from privacy.faces import FaceFinder, RedactionError
from privacy.redact import Redacted, redact


def redact_all(
    pictures: Sequence[bytes], people: Sequence[Sequence[Detection]], searched: Sequence[str]
) -> list[Redacted | None]:
    """Each picture with faces and heads mosaicked; None where that is not certain.

    Args:
        pictures: JPEGs.
        people: what was found in each.
        searched: the labels that were looked for; without "person" all are withheld.
    """
    try:
        faces = FaceFinder()
    except RedactionError as error:
        print(f"bongsu preview: {error}", file=sys.stderr)
        return [None for _ in pictures]
    return [_redacted(picture, found, searched, faces) for picture, found in zip(pictures, people, strict=True)]


def _redacted(
    picture: bytes, found: Sequence[Detection], searched: Sequence[str], faces: FaceFinder
) -> Redacted | None:
    try:
        return redact(Frame(picture, datetime.now(UTC)), found, searched, faces)
    except RedactionError as error:
        print(f"bongsu preview: {error}", file=sys.stderr)
        return None


def main() -> int:
    """Redact the pictures of the answer on stdin."""
    try:
        answer = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, Any])
        pictures = msgspec.convert(answer.pop("pictures", []), list[bytes])
        people = msgspec.convert(answer.pop("people", []), list[list[Detection]])
        searched = msgspec.convert(answer.pop("searched", []), list[str])
        done = redact_all(pictures, people, searched) if pictures else []
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        print(f"bongsu preview: {error}", file=sys.stderr)
        return 1
    answer["pictures"] = [None if each is None else each.jpeg for each in done]
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
