from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from functions.jpeg import PictureError, check_jpeg
from models.letterbox import Image
from models.network import HAZARD, SCENE, Network, Spec, decode_jpeg
from models.registry import ModelError

MEDIA = Path(__file__).parents[2] / "local/demo/media"


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(HAZARD)


@pytest.fixture(scope="module")
def fire() -> Iterator[Image]:
    with av.open(str(MEDIA / "fire.mp4")) as container:
        yield next(f.to_ndarray(format="bgr24") for i, f in enumerate(container.decode(video=0)) if i == 90)


def jpeg(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def test_a_picture_alone_and_in_a_batch_gives_the_same(network: Network, fire: Image) -> None:
    (alone,) = network.detect([fire])
    small = cv2.resize(fire, (333, 250))
    together = network.detect([small, fire, small])
    assert [d.label for d in together[1]] == [d.label for d in alone]
    assert [d.confidence for d in together[1]] == pytest.approx([d.confidence for d in alone], abs=1e-4)


def test_boxes_keep_their_place_when_the_picture_changes_shape(network: Network, fire: Image) -> None:
    (first, *_) = network.detect([fire])[0]
    wide = cv2.copyMakeBorder(fire, 0, 0, 0, fire.shape[1] // 4, cv2.BORDER_REPLICATE)
    moved = next(d for d in network.detect([wide])[0] if d.label == first.label)
    assert moved.box.x1 * wide.shape[1] == pytest.approx(first.box.x1 * fire.shape[1], abs=25)
    assert moved.box.y1 == pytest.approx(first.box.y1, abs=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (4320, 7680), (37, 211)])
def test_a_picture_of_any_size_is_looked_at(network: Network, shape: tuple[int, int]) -> None:
    assert isinstance(network.detect([np.full((*shape, 3), 127, np.uint8)]), list)


def test_grey_black_and_noise_show_no_hazard(network: Network) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    pictures = [np.zeros((360, 640, 3), np.uint8), np.full((360, 640, 3), 127, np.uint8), noise]
    assert network.detect(pictures) == [[], [], []]
    assert network.detect([]) == []


@pytest.mark.parametrize("level", [0, 12, 30, 60, 127, 200, 255])
def test_a_blank_picture_shows_nothing(network: Network, level: int) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (640, 640, 3))
    covered = (np.full((640, 640, 3), level) + noise).clip(0, 255).astype(np.uint8)
    assert network.detect([covered, np.full((640, 640, 3), level, np.uint8)]) == [[], []]


def test_the_scene_network_finds_cars() -> None:
    with av.open(str(MEDIA / "motorway.mp4")) as container:
        image = next(container.decode(video=0)).to_ndarray(format="bgr24")
    (found,) = Network(SCENE).detect([image])
    assert sum(d.label in ("car", "truck") for d in found) >= 3


def test_a_jpeg_is_decoded_at_the_scale_that_is_needed(fire: Image) -> None:
    body = jpeg(cv2.resize(fire, (1280, 960)))
    assert decode_jpeg(body).shape == (960, 1280, 3)
    assert decode_jpeg(body, enough_px=640).shape == (480, 640, 3)
    assert decode_jpeg(body, enough_px=320).shape == (240, 320, 3)
    assert check_jpeg(body) == (1280, 960)


def test_a_picture_that_is_no_jpeg_or_cut_off_is_refused(fire: Image) -> None:
    body = jpeg(fire)
    for wrong, message in (
        (b"", "not a JPEG"),
        (b"\x89PNG....", "not a JPEG"),
        (body[: len(body) // 2], "cut off"),
        (body[:30] + b"\xff\xd9", "declares no size"),
    ):
        with pytest.raises(PictureError, match=message):
            decode_jpeg(wrong)


def test_a_jpeg_bomb_is_refused_before_it_is_decoded(fire: Image) -> None:
    body = bytearray(jpeg(fire))
    at = body.index(b"\xff\xc0")
    body[at + 5 : at + 9] = (60000).to_bytes(2) + (60000).to_bytes(2)
    with pytest.raises(PictureError, match="60000x60000"):
        decode_jpeg(bytes(body))


@pytest.mark.parametrize("bare", [b"\xff\x00", b"\xff\x01", b"\xff\xd0", b"\xff\xd7", b"\xff\xd8", b"\xff\xd9"])
def test_jpeg_with_two_sizes_is_refused(fire: Image, bare: bytes) -> None:
    small = jpeg(fire)
    at = small.index(b"\xff\xc0")
    header = small[at : at + 19]
    bomb = header[:5] + (60000).to_bytes(2) * 2 + header[9:]
    # Read as a length, the bytes after the bare marker lead far past the header that a decoder finds.
    body = small[:2] + bare + small[2:at] + bomb + small[at + 19 : -2]
    behind = 2 + 2 + int.from_bytes(body[4:6])
    body = body[:behind].ljust(behind, b"\0") + header + bytes(40) + b"\xff\xd9"
    with pytest.raises(PictureError):
        check_jpeg(body)


_PEAK = """
import sys
from models.network import decode_jpeg

def peak():
    return next(int(l.split()[1]) // 1000 for l in open("/proc/self/status") if l.startswith("VmHWM"))

body, before = open(sys.argv[1], "rb").read(), peak()
try:
    shape = decode_jpeg(body, enough_px=320).shape
except ValueError as error:
    shape = str(error)
print(peak() - before, shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("declared", [(7680, 4320), (60000, 60000)])
def test_a_huge_picture_takes_little_memory(tmp_path: Path, declared: tuple[int, int]) -> None:
    body = bytearray(jpeg(np.full((4320, 7680, 3), 90, np.uint8)))
    at = body.index(b"\xff\xc0")
    body[at + 5 : at + 9] = declared[1].to_bytes(2) + declared[0].to_bytes(2)
    (tmp_path / "huge.jpg").write_bytes(bytes(body))
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "huge.jpg")], capture_output=True, text=True, check=True
    )
    took_mb, _, what = done.stdout.strip().partition(" ")
    assert int(took_mb) < 30
    assert what == "(540, 960, 3)" if declared[0] == 7680 else "60000x60000" in what


def test_missing_weights_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights at .*hazard\.onnx"):
        Network(Spec(tmp_path / "hazard.onnx", HAZARD.labels, 0.1))


def test_altered_weights_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / HAZARD.path.name
    path.write_bytes(HAZARD.path.read_bytes()[:-1] + b"x")
    (tmp_path / "SHA256SUMS").write_text((HAZARD.path.parent / "SHA256SUMS").read_text())
    with pytest.raises(ModelError, match="differs from its sha256"):
        Network(Spec(path, HAZARD.labels, 0.1))


def test_the_service_needs_neither_torch_nor_ultralytics() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import detect.worker, sys; print(*{'torch', 'ultralytics'} & sys.modules.keys())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
