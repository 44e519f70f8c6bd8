"""What reaches the public shows nobody: heads and faces are mosaicked, and what is in doubt is withheld."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions import Box, Detection, Frame
from functions.event import utc_now
from notify.redact import FaceFinder, Redacted, RedactionError, head_region, pixelate, redact, redacted_of

DATA = Path(os.environ.get("BONGSU_DATA", "/nonexistent"))
SEARCHED = ("fire", "person")


@pytest.fixture(scope="module")
def faces() -> FaceFinder:
    return FaceFinder()


def frame(jpeg: bytes) -> Frame:
    return Frame(jpeg, utc_now())


def decode(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def encode(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def person(x1: float, y1: float, x2: float, y2: float) -> Detection:
    return Detection("person", 0.7, Box(x1, y1, x2, y2))


def detail(image: np.ndarray) -> float:
    """How much neighbouring pixels differ: high in noise, near zero inside the blocks of a mosaic."""
    return float(np.median(np.abs(np.diff(image.astype(int), axis=1))))


def test_head_of_an_upright_person_is_mosaicked_and_the_rest_is_left(street, faces):
    shown = decode(redact(frame(street), [person(0.4, 0.2, 0.5, 0.9)], SEARCHED, faces).jpeg)
    x1, x2, top, bottom = int(0.4 * 640), int(0.5 * 640), int(0.2 * 360), int(0.9 * 360)
    head = shown[top : top + int(0.3 * (bottom - top)), x1:x2]
    assert detail(head) < 3
    assert detail(shown[top + int(0.35 * (bottom - top)) : bottom, x1:x2]) > 20
    assert detail(shown[:, :200]) > 20


def test_person_wider_than_tall_is_mosaicked_whole(street, faces):
    shown = decode(redact(frame(street), [person(0.2, 0.6, 0.6, 0.8)], SEARCHED, faces).jpeg)
    assert detail(shown[int(0.6 * 360) : int(0.8 * 360), int(0.2 * 640) : int(0.6 * 640)]) < 3


def test_other_things_are_not_mosaicked(street, faces):
    car = Detection("car", 0.9, Box(0.1, 0.1, 0.4, 0.9))
    assert detail(decode(redact(frame(street), [car], SEARCHED, faces).jpeg)) > 20


@pytest.mark.parametrize("side", [2, 5, 13, 40, 333])
def test_region_of_any_size_keeps_at_most_six_blocks_a_side(side):
    image = np.random.default_rng(1).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    before = image.copy()
    pixelate(image, (20, 30, 20 + side, 30 + side))
    part = image[30 : 30 + side, 20 : 20 + side]
    rows = 1 + int(np.any(np.diff(part.astype(int), axis=0) != 0, axis=(1, 2)).sum())
    columns = 1 + int(np.any(np.diff(part.astype(int), axis=1) != 0, axis=(0, 2)).sum())
    assert max(rows, columns) <= min(6, max(1, side // 2))
    image[30 : 30 + side, 20 : 20 + side] = before[30 : 30 + side, 20 : 20 + side]
    assert np.array_equal(image, before)


@given(st.tuples(*[st.integers(-50, 450)] * 4))
def test_region_beyond_the_picture_is_cut_to_it(region):
    pixelate(np.zeros((100, 100, 3), np.uint8), region)


@given(
    x=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted), y=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
)
def test_head_region_covers_the_top_of_every_person(x, y):
    box = Box(x[0], y[0], x[1], y[1])
    x1, y1, x2, y2 = head_region(box, 640, 360)
    assert x1 <= box.x1 * 640 and x2 >= box.x2 * 640
    assert y1 <= box.y1 * 360
    assert y2 >= (box.y1 + 0.3 * (box.y2 - box.y1)) * 360 - 1e-6


def test_faces_are_looked_for_in_a_picture_without_people(street):
    class OneFace:
        def find(self, image: np.ndarray) -> list[tuple[int, int, int, int]]:
            return [(100, 100, 160, 160)]

    shown = decode(redact(frame(street), [], SEARCHED, OneFace()).jpeg)
    assert detail(shown[100:160, 100:160]) < 3


def test_picture_is_withheld_where_people_were_not_looked_for(street, faces):
    with pytest.raises(RedactionError, match="did not look for people"):
        redact(frame(street), [], ("fire", "gun"), faces)


def test_cut_off_picture_is_withheld(street, faces):
    with pytest.raises(RedactionError, match="cut off"):
        redact(frame(street[: len(street) // 2]), [], SEARCHED, faces)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_refusal_and_never_a_crash(content):
    class NoFaces:
        def find(self, image: np.ndarray) -> list[tuple[int, int, int, int]]:
            return []

    for jpeg in (content, b"\xff\xd8" + content + b"\xff\xd9"):
        with pytest.raises(RedactionError):
            redact(frame(jpeg), [], SEARCHED, NoFaces())


def test_picture_that_declares_too_many_pixels_is_refused_before_it_is_decoded(street, faces, monkeypatch):
    at = street.index(b"\xff\xc0") + 5
    huge = street[:at] + (65000).to_bytes(2, "big") + (65000).to_bytes(2, "big") + street[at + 4 :]
    monkeypatch.setattr("notify.redact._decode", lambda jpeg: pytest.fail("it was decoded"))
    with pytest.raises(RedactionError, match="65000x65000"):
        redact(frame(huge), [], SEARCHED, faces)


def test_one_pixel_is_refused(faces):
    with pytest.raises(RedactionError, match="1x1"):
        redact(frame(encode(np.zeros((1, 1, 3), np.uint8))), [], SEARCHED, faces)


def test_8k_picture_is_made_small_enough_for_the_public(faces):
    large = encode(np.full((4320, 7680, 3), 90, np.uint8))
    assert decode(redact(frame(large), [person(0.1, 0.1, 0.2, 0.5)], SEARCHED, faces).jpeg).shape == (720, 1280, 3)


def test_what_is_attached_to_a_picture_does_not_go_out(street, faces):
    comment = b"rtsp://user:secret@camera"
    with_comment = street[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + street[2:]
    assert b"secret" not in redact(frame(with_comment), [], SEARCHED, faces).jpeg


def test_picture_with_exif_is_withheld_as_its_boxes_may_not_fit(street, faces):
    exif = b"Exif\0\0" + b"\0" * 20
    turned = street[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + street[2:]
    with pytest.raises(RedactionError, match="Exif"):
        redact(frame(turned), [], SEARCHED, faces)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(RedactionError, match=r"gone\.onnx"):
        FaceFinder(tmp_path / "gone.onnx")


def test_nobody_makes_a_redacted_picture_by_hand(street):
    with pytest.raises(TypeError, match="redact"):
        Redacted(street)


def test_frame_of_a_hazard_event_is_not_taken_for_redacted(make_event, street):
    with pytest.raises(TypeError, match="captioned"):
        redacted_of(make_event("fire", snapshot=street))
    assert redacted_of(make_event("captioned", hazard="fire")).jpeg == street
    assert redacted_of(make_event("captioned", hazard="fire", snapshot=None)) is None


@pytest.mark.skipif(not (DATA / "video" / "um_Med.mp4").is_file(), reason="BONGSU_DATA names no folder with the clips")
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_real_face_large_or_small_is_no_longer_found(faces, scale):
    capture = cv2.VideoCapture(str(DATA / "video" / "um_Med.mp4"))
    read, image = capture.read()
    capture.release()
    assert read
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    largest = max(faces.find(image), key=lambda face: face[2] - face[0])
    shown = decode(redact(frame(encode(image)), [], SEARCHED, faces).jpeg)
    assert not [face for face in faces.find(shown) if overlap(face, largest)]


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
