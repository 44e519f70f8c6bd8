"""`python -m privacy.preview`: redacts the pictures with which an operator sets a camera up, as those of alerts are.

It stands in the pipe between motion, which opens the camera, and the API, which loads no network: the answer of
`python -m motion.setup.page` comes in by stdin and goes out with its `pictures` redacted, None for those withheld.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from functions.event import Frame
from functions.jpeg import PictureError
from models.registry import ModelError
from privacy.faces import FaceFinder, RedactionError
from privacy.redact import Redacted, redact

if TYPE_CHECKING:
    from models.network import Network

log = structlog.get_logger()


def redact_all(pictures: Sequence[bytes]) -> list[Redacted | None]:
    """Each picture with faces and heads mosaicked; None where that is not certain."""
    from models.network import SCENE, Network, device_from_environment, threads_from_environment

    try:
        scene, faces = Network(SCENE, threads_from_environment(), device_from_environment()), FaceFinder()
    except (ModelError, RedactionError) as error:
        log.error("previews_withheld", reason=str(error))
        return [None for _ in pictures]
    return [_redacted(picture, scene, faces) for picture in pictures]


def _redacted(picture: bytes, scene: Network, faces: FaceFinder) -> Redacted | None:
    from models.network import decode_jpeg

    try:
        (found,) = scene.detect([decode_jpeg(picture, enough_px=scene.size_px)])
        return redact(Frame(picture, datetime.now(UTC)), found, scene.labels, faces)
    except (RedactionError, PictureError, ModelError) as error:
        log.error("preview_withheld", reason=str(error))
        return None


def main() -> int:
    """Redact the pictures of the answer on stdin."""
    try:
        answer = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, Any])
        pictures = msgspec.convert(answer.pop("pictures", []), list[bytes])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        print(f"bongsu preview: {error}", file=sys.stderr)
        return 1
    done = redact_all(pictures) if pictures else []
    answer["pictures"] = [None if each is None else each.jpeg for each in done]
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    return 0


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is the answer
    sys.exit(main())
