"""`python -m detect.preview`: finds the people in the pictures with which an operator sets a camera up.

It stands in a pipe between motion, which opens the camera, and privacy, which covers what was found: the answer of
`python -m motion.setup.page` passes through with `people` beside its `pictures`, and `searched`, the labels that were
looked for. Where the network cannot be loaded, nothing was looked for, and privacy withholds the pictures.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from functions.event import Detection
from functions.jpeg import PictureError


def find_people(pictures: list[bytes]) -> tuple[list[list[Detection]], tuple[str, ...]]:
    """What the scene network finds in each picture, and what it looks for; nothing where it cannot be loaded."""
    from models.network import SCENE, Network, decode_jpeg, device_from_environment, threads_from_environment
    from models.registry import ModelError

    try:
        scene = Network(SCENE, threads_from_environment(), device_from_environment())
        images = [decode_jpeg(picture, enough_px=scene.size_px) for picture in pictures]
        return [scene.detect([image])[0] for image in images], scene.labels
    except (ModelError, PictureError) as error:
        print(f"bongsu preview: {error}", file=sys.stderr)
        return [[] for _ in pictures], ()


def main() -> int:
    """Add what was found to the answer on stdin."""
    try:
        answer = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        print(f"bongsu preview: {error}", file=sys.stderr)
        return 1
    if answer.get("pictures"):
        answer["people"], answer["searched"] = find_people(answer["pictures"])
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
